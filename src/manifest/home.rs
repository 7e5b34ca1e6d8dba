//! Decides whether the definition of a user's own source stays at the host of its `base_url`. Files that are built in may name
//! others.
//!
//! Tokens are the exception: they come from the `token_url` of the definition.
//!
//! Layer: manifest. Knows nothing of Postgres.

use super::{Problem, Source};

/// Where a definition leads to another host than that of its `base_url`.
pub fn leaving(source: &Source) -> Vec<Problem> {
    let home = host(&source.base_url);
    let mut found = Vec::new();
    let mut judge = |place: String, leaves: bool| {
        if leaves {
            found.push(Problem::new(
                &place,
                "leads to another host than base_url, where the calls of a definition stay",
            ));
        }
    };
    for (name, ways) in &source.values {
        for (index, call) in ways.iter().enumerate().filter_map(|(index, way)| Some((index, way.call.as_ref()?))) {
            let leaves = call.path.contains("://") && host(&call.path) != home;
            judge(format!("/values/{name}/{index}/call/path"), leaves);
        }
    }
    let tables = source.collections.iter().enumerate().map(|(index, item)| (format!("/collections/{index}"), item));
    let helpers = source.helpers.iter().enumerate().map(|(index, item)| (format!("/helpers/{index}"), item));
    for (at, collection) in tables.chain(helpers) {
        judge(format!("{at}/base_url"), collection.base_url.as_deref().is_some_and(|own| host(own) != home));
        let elsewhere = collection.job.as_ref().is_some_and(|job| !job.download.hosts.is_empty());
        judge(format!("{at}/job/download/hosts"), elsewhere);
    }
    found
}

/// The host in the template of an address, without its port; a template that begins with a name is all of it.
fn host(template: &str) -> &str {
    let authority = super::template::authority(template).filter(|_| !template.starts_with('{'));
    let Some(authority) = authority else { return template };
    // A colon of an IPv6 address or inside a name begins no port.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains([']', '|']) && (!port.contains('}') || port.starts_with('{')) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_host_of_a_template() {
        for (template, want) in [
            ("https://api.x.test/v1", "api.x.test"),
            ("https://api.x.test:8080", "api.x.test"),
            ("https://api.x.test?a=/b", "api.x.test"),
            ("https://{api_key|after_last:-}.x.test/{v|replace:/=:}", "{api_key|after_last:-}.x.test"),
            ("https://{site|replace:/=:}/v1", "{site|replace:/=:}"),
            ("http://127.0.0.1:{port}/v1", "127.0.0.1"),
            ("https://[2001:db8::1]/", "[2001:db8::1]"),
            ("https://[2001:db8::1]:443/", "[2001:db8::1]"),
            ("{instance_url}", "{instance_url}"),
            ("{instance_url}/v2", "{instance_url}/v2"),
        ] {
            assert_eq!(host(template), want, "{template}");
        }
    }

    #[test]
    fn a_definition_stays_at_its_host() {
        let places = |members: serde_json::Value| -> Vec<String> {
            let mut file = json!({"base_url": "https://api.x.test/v1", "collections": [
                {"name": "things", "path": "/", "pages": {"style": "none"}, "primary_key": ["id"],
                 "columns": [{"name": "id", "type": "bigint"}]}]});
            for (name, value) in members.as_object().unwrap() {
                match name.as_str() {
                    "values" => file["values"] = value.clone(),
                    _ => file["collections"][0][name] = value.clone(),
                }
            }
            leaving(&crate::http::testing::source(file)).into_iter().map(|problem| problem.pointer).collect()
        };
        let value = |path: &str| json!({"values": {"dc": [{"call": {"path": path}, "pointer": "/dc"}]}});
        let job = |hosts: serde_json::Value| {
            json!({"job": {"create": {"method": "POST", "path": "/x"}, "id": "/id", "status": {"path": "/x/{job_id}"}, "state": "/state",
                "states": {"running": ["busy"], "done": ["done"], "failed": ["broken"]}, "download": {"urls": "/urls", "hosts": hosts, "records": ""}}})
        };
        for (members, want) in [
            (json!({"base_url": "https://api.x.test/v2"}), vec![]),
            (json!({"base_url": "https://files.x.test/v2"}), vec!["/collections/0/base_url"]),
            (value("/meta"), vec![]),
            (value("https://api.x.test/meta"), vec![]),
            (value("https://api.x.test.evil.test/meta"), vec!["/values/dc/0/call/path"]),
            (job(json!([])), vec![]),
            (job(json!(["*.storage.test"])), vec!["/collections/0/job/download/hosts"]),
        ] {
            assert_eq!(places(members.clone()), want, "{members}");
        }
    }
}
