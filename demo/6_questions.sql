\echo Companies are joined by their e-mail domain; a view keeps that in one place.
CREATE VIEW account_domains AS
SELECT id AS account_id, name AS account, industry, regexp_replace(website, '^https?://(www\.)?', '') AS domain
FROM salesforce.accounts
WHERE NOT is_deleted AND website IS NOT NULL;

\echo Which accounts have the most open tickets, and what do they pay us? (Salesforce, Zendesk, Stripe)
WITH open_tickets AS (
    SELECT d.domain, count(*) AS tickets, count(*) FILTER (WHERE t.priority IN ('high', 'urgent')) AS urgent, min(t.created_at) AS oldest
    FROM zendesk.organizations o
    CROSS JOIN LATERAL jsonb_array_elements_text(o.domain_names) AS d (domain)
    JOIN zendesk.tickets t ON t.organization_id = o.id
    WHERE t.status NOT IN ('solved', 'closed') AND NOT t.is_deleted AND NOT o.is_deleted
    GROUP BY 1
), revenue AS (
    SELECT split_part(c.email, '@', 2) AS domain, sum(ch.amount - ch.amount_refunded) / 100.0 AS amount
    FROM stripe.customers c
    JOIN stripe.charges ch ON ch.customer_id = c.id AND ch.status = 'succeeded'
    GROUP BY 1
)
SELECT a.account, a.industry, t.tickets AS open_tickets, t.urgent, t.oldest::date, round(r.amount, 2) AS revenue
FROM open_tickets t
JOIN account_domains a USING (domain)
LEFT JOIN revenue r USING (domain)
ORDER BY t.tickets DESC, r.amount DESC NULLS LAST
LIMIT 10;

\echo Everything that was said between us and our customers, wherever it was said:
CREATE VIEW communications AS
SELECT account_id, 'salesforce' AS app, task_subtype AS kind, activity_date::timestamptz AS at, subject AS said
FROM salesforce.tasks
WHERE NOT is_deleted
UNION ALL
SELECT a.account_id, 'zendesk', CASE WHEN c.public THEN 'reply' ELSE 'note' END, c.created_at, c.plain_body
FROM zendesk.ticket_comments c
JOIN zendesk.tickets t ON t.id = c.ticket_id
JOIN zendesk.organizations o ON o.id = t.organization_id
JOIN account_domains a ON o.domain_names ? a.domain
UNION ALL
SELECT a.account_id, 'intercom', p.part_type, p.created_at, p.body
FROM intercom.conversation_parts p
JOIN intercom.conversations c ON c.id = p.conversation_id
JOIN account_domains a ON a.domain = split_part(c.source #>> '{author,email}', '@', 2)
WHERE p.body IS NOT NULL
UNION ALL
SELECT a.account_id, 'hubspot', lower(e.type), e.created, g.subject
FROM hubspot.email_events e
JOIN account_domains a ON a.domain = split_part(e.recipient, '@', 2)
LEFT JOIN hubspot.email_campaigns g ON g.id::text = e.email_campaign_id::text
WHERE e.type IN ('DELIVERED', 'OPEN', 'CLICK');

\echo With whom did we speak most in the last two months, and how?
SELECT a.account, count(*) AS contacts, count(*) FILTER (WHERE app = 'salesforce') AS salesforce,
       count(*) FILTER (WHERE app = 'zendesk') AS zendesk, count(*) FILTER (WHERE app = 'intercom') AS intercom,
       count(*) FILTER (WHERE app = 'hubspot') AS hubspot
FROM communications
JOIN account_domains a USING (account_id)
WHERE at BETWEEN now() - interval '2 months' AND now()
GROUP BY a.account_id, a.account
ORDER BY count(DISTINCT app) DESC, 2 DESC
LIMIT 5;

\echo All of it, with the first of them:
SELECT at::timestamp(0), app, kind, left(regexp_replace(said, '<[^>]*>', '', 'g'), 60) AS said
FROM communications
WHERE at BETWEEN now() - interval '2 months' AND now()
  AND account_id = (
      SELECT account_id
      FROM communications
      WHERE at BETWEEN now() - interval '2 months' AND now()
      GROUP BY 1
      ORDER BY count(DISTINCT app) DESC, count(*) DESC
      LIMIT 1
  )
ORDER BY at;

\echo Which paying customers have an open opportunity, and does support know them? (Salesforce, Stripe, Zendesk)
WITH pipeline AS (
    SELECT account_id, count(*) AS opportunities, sum(amount) AS amount
    FROM salesforce.opportunities
    WHERE NOT is_closed AND NOT is_deleted
    GROUP BY account_id
), paid AS (
    SELECT c.metadata ->> 'salesforce_account_id' AS account_id, sum(ch.amount - ch.amount_refunded) / 100.0 AS amount
    FROM stripe.customers c
    JOIN stripe.charges ch ON ch.customer_id = c.id AND ch.status = 'succeeded'
    WHERE NOT c.is_deleted
    GROUP BY 1
)
SELECT a.account, round(paid.amount, 2) AS paid_so_far, pipeline.opportunities, pipeline.amount AS pipeline,
       EXISTS (SELECT FROM zendesk.organizations o WHERE o.domain_names ? a.domain) AS known_to_support
FROM account_domains a
JOIN pipeline USING (account_id)
JOIN paid USING (account_id)
ORDER BY pipeline.amount DESC NULLS LAST
LIMIT 10;
