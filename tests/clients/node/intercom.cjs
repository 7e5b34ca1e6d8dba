// Reads a workspace with Intercom's own client and prints it as JSON: node intercom.cjs <address> <token> <what>
// Needs NODE_PATH, because the package is not installed beside this file.
"use strict";

const { IntercomClient, IntercomError } = require("intercom-client");

const [address, token, what] = process.argv.slice(2);

function connect(options = {}) {
    return new IntercomClient({ environment: address, token, maxRetries: 0, ...options });
}

async function all(paged) {
    const items = [];
    for await (const item of await paged) {
        items.push(item);
    }
    return items;
}

// The client would ask on after the empty page, with a scroll that has ended: its own test of it is skipped as endless.
async function scrolled(client) {
    const items = [];
    let page = await client.companies.scroll();
    while (page.data.length > 0) {
        items.push(...page.data);
        page = await page.getNextPage();
    }
    return items;
}

// What a call fails with.
async function failure(call) {
    try {
        await call();
        return null;
    } catch (error) {
        if (!(error instanceof IntercomError)) {
            throw error;
        }
        const first = error.body && error.body.errors && error.body.errors[0];
        return { status: error.statusCode, code: first ? first.code : null };
    }
}

const role = (name) => ({
    query: { operator: "AND", value: [{ field: "role", operator: "=", value: name }] },
    pagination: { per_page: 7 },
    sort: { field: "updated_at", order: "ascending" },
});

const commands = {
    async read() {
        const client = connect();
        const conversations = await all(
            client.conversations.search({
                query: { field: "updated_at", operator: ">", value: 1 },
                pagination: { per_page: 5 },
                sort: { field: "updated_at", order: "ascending" },
            }),
        );
        const whole = [];
        for (const { id } of conversations) {
            whole.push(await client.conversations.find({ conversation_id: id }));
        }
        return {
            listed: await all(client.contacts.list({ per_page: 9 })),
            users: await all(client.contacts.search(role("user"))),
            contacts: await all(client.contacts.search(role("lead"))),
            conversations,
            listed_conversations: await all(client.conversations.list({ per_page: 4 })),
            whole,
            companies: await scrolled(client),
            listed_companies: await all(client.companies.list({ per_page: 8 })),
            admins: (await client.admins.list()).admins,
            teams: (await client.teams.list()).teams,
            tags: (await client.tags.list()).data,
            segments: (await client.segments.list({ include_count: true })).segments,
            attributes: (await client.dataAttributes.list({ model: "contact" })).data,
            me: await client.admins.identify(),
        };
    },

    async errors() {
        const client = connect();
        const date = (operator) => ({ query: { field: "updated_at", operator, value: 1 } });
        const first = await client.companies.scroll();
        return {
            token: await failure(() => connect({ token: "wrong" }).tags.list()),
            version: await failure(() => connect({ version: "1.4" }).tags.list()),
            missing: await failure(() => client.contacts.find({ contact_id: "none" })),
            operator: await failure(() => client.contacts.search(date(">="))),
            scroll: await failure(() => client.companies.scroll()),
            page: await failure(() => client.contacts.list({ per_page: 151 })),
            first: first.data.length,
        };
    },

    // The client itself waits until X-RateLimit-Reset and asks again.
    async patient() {
        const client = connect({ maxRetries: 2 });
        const started = Date.now();
        for (let call = 0; call < 3; call += 1) {
            await client.tags.list();
        }
        return { waited_ms: Date.now() - started };
    },
};

commands[what]().then(
    (found) => process.stdout.write(JSON.stringify(found)),
    (error) => {
        console.error(error);
        process.exit(1);
    },
);
