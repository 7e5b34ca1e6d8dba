//! CRM objects: lists, searches, batches, properties, associations.

use super::*;

#[test]
fn a_list_pages_through_all_objects_and_shows_what_is_asked() {
    let mut portal = Portal::seeded(json!({"companies": 4, "contacts": 25}));
    let all =
        walk(&mut portal, "/crm/v3/objects/contacts?limit=10&properties=email,phone&properties=customer_score,nope");
    let ledger = portal.ledger("contacts");
    assert_eq!(all.len(), 25);
    for (shown, row) in all.iter().zip(&ledger) {
        let whole = &row["record"];
        assert_eq!((&shown["id"], &shown["updatedAt"]), (&whole["id"], &whole["updatedAt"]));
        let names: Vec<&String> = shown["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["createdate", "customer_score", "email", "hs_object_id", "lastmodifieddate", "phone"]);
        for (name, value) in shown["properties"].as_object().unwrap() {
            assert_eq!(value, &whole["properties"][name], "{name}");
            assert!(value.is_null() || value.is_string(), "values are texts: {value}");
        }
    }
    let page = portal.get("/crm/v3/objects/contacts");
    assert_eq!(page["results"].as_array().unwrap().len(), 10);
    let last: u64 = page["results"][9]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(page["paging"]["next"]["after"], json!((last + 1).to_string()));
    assert!(page["paging"]["next"]["link"]
        .as_str()
        .unwrap()
        .starts_with("http://127.0.0.1:1/crm/v3/objects/contacts?after="));
    let names: Vec<&String> = page["results"][0]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"]);
    for wrong in
        ["limit=101", "limit=0", "limit=x", "after=x", "propertiesWithHistory=email&limit=51", "associations=nope"]
    {
        assert_eq!(portal.raw(&format!("/crm/v3/objects/contacts?{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(portal.raw("/crm/v3/objects/widgets").status, 400);
}

#[test]
fn archived_objects_have_a_list_of_their_own() {
    let mut portal = Portal::seeded(json!({"contacts": 5}));
    let id = ids(&portal.get("/crm/v3/objects/contacts")["results"])[2].clone();
    portal.control("DELETE", &format!("/contacts/{id}"), json!({}));
    let live = portal.get("/crm/v3/objects/contacts?limit=100");
    assert!(!ids(&live["results"]).contains(&id));
    let gone = portal.get("/crm/v3/objects/contacts?limit=100&archived=True");
    assert_eq!(ids(&gone["results"]), [id.as_str()]);
    assert_eq!(
        (&gone["results"][0]["archived"], &gone["results"][0]["archivedAt"]),
        (&json!(true), &json!(wire::iso(NOW)))
    );
    assert_eq!(portal.raw(&format!("/crm/v3/objects/contacts/{id}")).status, 404);
    assert_eq!(portal.raw(&format!("/crm/v3/objects/contacts/{id}?archived=true")).status, 200);
    assert_eq!(portal.search(json!({}))["total"], 4);
    portal.control("POST", &format!("/contacts/{id}/undelete"), json!({}));
    assert_eq!(portal.get("/crm/v3/objects/contacts?limit=100")["results"].as_array().unwrap().len(), 5);
    // Erased, not archived: no trace anywhere.
    portal.control("DELETE", &format!("/contacts/{id}?hard=true"), json!({}));
    assert_eq!(portal.get("/crm/v3/objects/contacts?archived=true")["results"], json!([]));
    assert_eq!(portal.control("GET", "/contacts/count", json!({})), json!({"count": 4, "deleted": 0, "total": 4}));
}

#[test]
fn a_search_filters_sorts_and_pages_by_offset() {
    let mut portal = Portal::seeded(json!({"contacts": 60, "ties": 20}));
    let newest = portal.ledger("contacts").iter().map(|r| r["changed_at"].as_i64().unwrap()).max().unwrap();
    let ask = |operator: &str, after: usize| {
        json!({
            "filterGroups": [{"filters": [{"propertyName": "lastmodifieddate", "operator": operator, "value": newest.to_string()}]}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "DESCENDING"}], "properties": ["city"], "limit": 8, "after": after,
        })
    };
    let first = portal.search(ask("GTE", 0));
    let shared = first["total"].as_u64().unwrap();
    assert!(shared >= 20, "many share the newest moment: {shared}");
    assert_eq!(portal.search(ask("GT", 0))["total"], 0, "GT at the edge loses them");
    assert_eq!(first["paging"], json!({"next": {"after": "8"}}));
    let second = portal.search(ask("GTE", 8));
    let (mut seen, more) = (ids(&first["results"]), ids(&second["results"]));
    seen.extend(more);
    assert!(seen.windows(2).all(|two| two[0] > two[1]), "descending and disjoint: {seen:?}");
    let names: Vec<&String> = first["results"][0]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["city", "createdate", "hs_object_id", "lastmodifieddate"]);
    let last = portal.search(ask("GTE", shared as usize - 1));
    assert!(last.get("paging").is_none());
}

#[test]
fn a_search_ends_at_its_ceiling_with_400() {
    let mut portal = Portal::seeded(json!({"contacts": 30}));
    portal.set(json!({"search_ceiling": 20}));
    let page = portal.search(json!({"limit": 10, "after": "10"}));
    assert_eq!(
        (&page["total"], &page["paging"]["next"]["after"]),
        (&json!(30), &json!("20")),
        "the page names a next one"
    );
    let refused = portal.posted("/crm/v3/objects/contacts/search", json!({"limit": 10, "after": "20"}));
    assert_eq!((refused.status, &body(&refused)["category"]), (400, &json!("VALIDATION_ERROR")));
    let mut plain = Portal::new();
    assert_eq!(plain.posted("/crm/v3/objects/contacts/search", json!({"limit": 200, "after": 9800})).status, 200);
    assert_eq!(plain.posted("/crm/v3/objects/contacts/search", json!({"limit": 200, "after": 9801})).status, 400);
}

#[test]
fn the_search_index_lags_behind_lists_and_batches() {
    let mut portal = Portal::seeded(json!({"contacts": 2}));
    let id = ids(&portal.get("/crm/v3/objects/contacts")["results"])[0].clone();
    portal.set(json!({"late_visibility_ms": 60_000}));
    let made = portal.control("POST", "/contacts", json!({"email": "new@x.example"}));
    portal.control("PATCH", &format!("/contacts/{id}"), json!({"city": "Oslo"}));
    let oslo = json!({"filterGroups": [{"filters": [{"propertyName": "city", "operator": "EQ", "value": "Oslo"}]}]});
    assert_eq!(
        (portal.search(json!({}))["total"].clone(), portal.search(oslo.clone())["total"].clone()),
        (json!(2), json!(0))
    );
    assert_eq!(portal.get("/crm/v3/objects/contacts")["results"].as_array().unwrap().len(), 3);
    let read = json!({"inputs": [{"id": made["id"]}], "properties": ["email"]});
    assert_eq!(
        portal.post("/crm/v3/objects/contacts/batch/read", read)["results"][0]["properties"]["email"],
        "new@x.example"
    );
    portal.now_ms += 60_000;
    assert_eq!((portal.search(json!({}))["total"].clone(), portal.search(oslo)["total"].clone()), (json!(3), json!(1)));
    let found = portal.get(&format!("/crm/v3/objects/contacts/{id}"));
    assert_eq!(found["updatedAt"], json!(wire::iso(NOW)), "with the stamp of the moment it was made");
}

#[test]
fn batches_read_by_id_or_email_and_say_what_is_missing() {
    let mut portal = Portal::seeded(json!({"contacts": 20}));
    let ledger = portal.ledger("contacts");
    let property = |row: &Value, name: &str| row["record"]["properties"][name].as_str().map(str::to_string);
    let with_second = ledger.iter().find(|r| property(r, "hs_additional_emails").is_some()).unwrap();
    let (first, second) =
        (property(&ledger[0], "email").unwrap(), property(with_second, "hs_additional_emails").unwrap());
    let by_email = json!({"inputs": [{"id": second}, {"id": first.to_uppercase()}], "idProperty": "email", "properties": ["email"]});
    let answer = portal.posted("/crm/v3/objects/contacts/batch/read", by_email);
    assert_eq!(answer.status, 200);
    assert_eq!(
        ids(&body(&answer)["results"]),
        [ledger[0]["id"].as_str().unwrap(), with_second["id"].as_str().unwrap()]
    );
    let half = portal.posted(
        "/crm/v3/objects/contacts/batch/read",
        json!({"inputs": [{"id": "1"}, {"id": ledger[1]["id"]}], "properties": []}),
    );
    let (status, half) = (half.status, body(&half));
    assert_eq!((status, &half["numErrors"], &half["errors"][0]["context"]["ids"]), (207, &json!(1), &json!(["1"])));
    assert_eq!(ids(&half["results"]), [ledger[1]["id"].as_str().unwrap()]);
    for (name, wrong) in [
        ("twice the same", json!({"inputs": [{"id": "1"}, {"id": "1"}]})),
        ("too many", json!({"inputs": (0..101).map(|n| json!({"id": n.to_string()})).collect::<Vec<_>>()})),
        ("not unique", json!({"inputs": [{"id": "x"}], "idProperty": "city"})),
        ("no inputs", json!({"ids": []})),
    ] {
        assert_eq!(portal.posted("/crm/v3/objects/contacts/batch/read", wrong).status, 400, "{name}");
    }
}

#[test]
fn properties_are_described_defined_and_archived() {
    let mut portal = Portal::seeded(json!({"contacts": 1}));
    let names = |portal: &mut Portal| -> Vec<String> {
        let listed = portal.get("/crm/v3/properties/contacts");
        listed["results"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_string()).collect()
    };
    let before = names(&mut portal);
    assert!(before.contains(&"renewal_date".to_string()));
    portal.control(
        "POST",
        "/objects/contacts/properties",
        json!({"name": "tier", "type": "enumeration", "options": [{"label": "A", "value": "a", "hidden": false}]}),
    );
    portal.control("POST", "/objects/contacts/properties", json!({"name": "wide", "count": 400}));
    assert_eq!(names(&mut portal).len(), before.len() + 401);
    let tier = portal.get("/crm/v3/properties/0-1/tier");
    assert_eq!(
        (&tier["type"], &tier["hubspotDefined"], &tier["options"][0]["value"]),
        (&json!("enumeration"), &json!(false), &json!("a"))
    );
    let id = portal.ledger("contacts")[0]["id"].as_str().unwrap().to_string();
    portal.control(
        "PATCH",
        &format!("/contacts/{id}"),
        json!({"tier": "a", "renewal_date": "2027-05-06", "last_seen_in_store": "2027-05-06T07:08:09Z", "wide_400": 7}),
    );
    let shown =
        portal.get(&format!("/crm/v3/objects/contacts/{id}?properties=tier,renewal_date,last_seen_in_store,wide_400"));
    assert_eq!(shown["properties"]["renewal_date"], "2027-05-06");
    assert_eq!(shown["properties"]["last_seen_in_store"], "2027-05-06T07:08:09Z");
    assert_eq!((&shown["properties"]["tier"], &shown["properties"]["wide_400"]), (&json!("a"), &json!("7")));
    portal.control("DELETE", "/objects/contacts/properties/tier", json!({}));
    assert!(!names(&mut portal).contains(&"tier".to_string()));
    assert_eq!(portal.get("/crm/v3/properties/contacts?archived=true")["results"][0]["name"], "tier");
    assert!(portal.get(&format!("/crm/v3/objects/contacts/{id}?properties=tier"))["properties"].get("tier").is_none());
    assert!(portal.try_control("PATCH", &format!("/contacts/{id}"), json!({"tier": "b"})).is_err());
    assert_eq!(portal.raw("/crm/v3/properties/contacts/nope").status, 404);
}

#[test]
fn associations_come_with_lists_and_in_batches() {
    let mut portal = Portal::seeded(json!({"companies": 3, "contacts": 8, "deals": 6}));
    let deals = portal.get("/crm/v3/objects/deals?limit=100&associations=contacts,companies");
    let deal = deals["results"][1].clone();
    let linked = ids(&deal["associations"]["contacts"]["results"]);
    assert_eq!(linked.len(), 2);
    assert_eq!(deal["associations"]["companies"]["results"][0]["type"], "deal_to_company");
    assert_eq!(deal["associations"]["companies"]["results"][1]["type"], "deal_to_company_unlabeled");
    assert!(portal.search(json!({}))["results"][0].get("associations").is_none(), "a search has none");
    let ask = json!({"inputs": [{"id": deal["id"]}, {"id": "1"}]});
    let answer = portal.posted("/crm/v4/associations/deals/contacts/batch/read", ask.clone());
    let (status, answer) = (answer.status, body(&answer));
    assert_eq!(status, 207);
    assert_eq!(answer["errors"][0]["subCategory"], "crm.associations.NO_ASSOCIATIONS_FOUND");
    let to: Vec<&str> =
        answer["results"][0]["to"].as_array().unwrap().iter().map(|t| t["toObjectId"].as_str().unwrap()).collect();
    assert_eq!(to, linked);
    assert_eq!(
        answer["results"][0]["to"][0]["associationTypes"][0],
        json!({"category": "HUBSPOT_DEFINED", "typeId": 3, "label": null})
    );
    assert_eq!(
        portal.post("/crm/v3/associations/deals/contacts/batch/read", ask)["results"][0]["to"][0]["type"],
        "deal_to_contact"
    );
    // Parting moves the stamp and the count; an archived one is no longer shown.
    let deal_id = deal["id"].as_str().unwrap().to_string();
    portal.control(
        "DELETE",
        "/associations",
        json!({"from": "deals", "from_id": deal_id, "to": "contacts", "to_id": linked[0]}),
    );
    let after = portal
        .get(&format!("/crm/v3/objects/deals/{deal_id}?properties=num_associated_contacts&associations=contacts"));
    assert_eq!(
        (&after["properties"]["num_associated_contacts"], &after["updatedAt"]),
        (&json!("1"), &json!(wire::iso(NOW)))
    );
    portal.control("DELETE", &format!("/contacts/{}", linked[1]), json!({}));
    assert!(portal
        .get(&format!("/crm/v3/objects/deals/{deal_id}?associations=contacts"))
        .get("associations")
        .is_none());
}

#[test]
fn a_company_counts_its_contacts() {
    let mut portal = Portal::seeded(json!({"companies": 1}));
    let id = portal.ledger("companies")[0]["id"].as_str().unwrap().to_string();
    portal.now_ms += 5000;
    let made =
        portal.control("POST", "/contacts", json!({"email": "a@b.example", "associations": {"companies": [id]}}));
    assert_eq!(made["properties"]["associatedcompanyid"], json!(id));
    let company = &portal.ledger("companies")[0]["record"];
    assert_eq!(company["properties"]["num_associated_contacts"], "1");
    assert_eq!(company["updatedAt"], json!(wire::iso(NOW + 5000)));
    assert_eq!(company["properties"]["first_contact_createdate"], json!(wire::iso(NOW + 5000)));
}
