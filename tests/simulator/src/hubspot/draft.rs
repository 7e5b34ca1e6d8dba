//! Decides what records hold that nobody described: people, companies and deals that belong together, and what they did.

use serde_json::{json, Map, Value};

use super::properties::Kind;
use super::record::{set, PORTAL, STAGES};
use super::subscriptions::TYPES;
use super::wire::{iso, uuid};
use super::Hubspot;
use crate::chance::Chance;
use crate::names;
use crate::rest::crud;

const EVENTS: [&str; 10] =
    ["SENT", "DELIVERED", "OPEN", "CLICK", "DELIVERED", "OPEN", "BOUNCE", "DEFERRED", "DROPPED", "STATUSCHANGE"];
const CUSTOM_INTERESTS: [&str; 5] = ["hiking", "reading", "Travel", "hiking;Travel", "reading;hiking"];

/// The first ids; those of real portals are beyond 32 bits too.
fn object_id(kind: Kind, number: u64) -> u64 {
    [20_000_000_001, 30_000_000_001, 40_000_000_001][kind.at()] + number
}

impl Hubspot {
    /// A random source for one record.
    fn chance(&self, collection: &str, number: u64) -> Chance {
        Chance::new(self.seed, &format!("{collection}{number}"))
    }

    /// An id of those made in a collection, the same for the same number.
    fn some(&self, collection: &str, number: u64) -> Option<String> {
        let made = self.book.made(collection);
        let kind = Kind::named(collection)?;
        (made > 0).then(|| object_id(kind, number % made).to_string())
    }

    /// The members of a new object: properties, and under `links` what it is associated with.
    pub fn draft_object(
        &self,
        kind: Kind,
        number: u64,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let mut chance = self.chance(kind.plural(), number);
        let mut given = given.clone();
        let mut links = given.shift_remove("associations").unwrap_or_else(|| json!({}));
        if let Some(Value::Object(inner)) = given.shift_remove("properties") {
            given.extend(inner);
        }
        let id = object_id(kind, number);
        let mut properties = match kind {
            Kind::Contact => self.contact(number, &mut chance),
            Kind::Company => company(number, &mut chance),
            Kind::Deal => self.deal(number, &mut chance),
        };
        if links.as_object().is_none_or(Map::is_empty) && !given.contains_key("associatedcompanyid") {
            links = self.natural_links(kind, number);
        }
        if kind == Kind::Contact {
            let company = links["companies"].as_array().and_then(|ids| ids.first().cloned());
            properties["associatedcompanyid"] = company.unwrap_or(Value::Null);
        }
        properties["hs_object_id"] = json!(id);
        let mut fields = Map::new();
        fields.insert("id".into(), json!(id.to_string()));
        let known = &self.properties[kind.at()];
        set(kind, known, &mut fields, properties.as_object().unwrap_or(&Map::new()))?;
        set(kind, known, &mut fields, &given)?;
        fields.insert("links".into(), links);
        Ok(fields)
    }

    /// A contact belongs to a company, a deal to a contact or two and to a company; some of each to none.
    fn natural_links(&self, kind: Kind, number: u64) -> Value {
        let company = (number % 11 != 10).then(|| self.some("companies", number)).flatten();
        let companies: Vec<String> = company.into_iter().collect();
        match kind {
            Kind::Contact if !companies.is_empty() => json!({"companies": companies}),
            Kind::Deal => {
                let mut contacts: Vec<String> = self.some("contacts", number * 3).into_iter().collect();
                contacts.extend((number % 4 == 1).then(|| self.some("contacts", number * 3 + 1)).flatten());
                contacts.dedup();
                json!({"companies": companies, "contacts": contacts})
            }
            _ => json!({}),
        }
    }

    fn owner(&self, number: u64) -> Value {
        match self.book.made("owners") {
            0 => Value::Null,
            made => json!((70_000_001 + number % made).to_string()),
        }
    }

    fn contact(&self, number: u64, chance: &mut Chance) -> Value {
        let (first, last) = names::person(number);
        let of = number % self.book.made("companies").max(25);
        let (city, state, zip, country, ..) = names::TOWNS[chance.below(10) as usize];
        // Some are known by their visits only.
        let email = (number % 9 != 8).then(|| names::mailbox(number, of));
        let second = (number % 13 == 5).then(|| format!("other.{}", names::mailbox(number, of)));
        json!({
            "email": email, "hs_additional_emails": second, "firstname": first, "lastname": last, "company": names::company(of),
            "phone": chance.percent(70).then(|| format!("+1 555 {}", chance.digits(7))),
            "website": format!("https://{}", names::domain(of)), "jobtitle": chance.pick(&["Buyer", "Engineer", "Owner", "Planner"]),
            "address": names::street(chance), "city": city, "state": state, "zip": zip, "country": country,
            "lifecyclestage": chance.pick(&["subscriber", "lead", "opportunity", "customer"]),
            "hs_lead_status": chance.percent(60).then(|| chance.pick(&["NEW", "OPEN", "CONNECTED"])),
            "hubspot_owner_id": self.owner(number), "hs_email_optout": chance.percent(5).then_some(true),
            "renewal_date": chance.percent(30).then(|| format!("2026-{:02}-{:02}", 1 + chance.below(12), 1 + chance.below(28))),
            "customer_score": chance.percent(50).then(|| chance.between(0, 1000) as f64 / 10.0),
            "is_beta_tester": chance.percent(40).then(|| chance.percent(50)),
            "interests": chance.percent(50).then(|| chance.pick(&CUSTOM_INTERESTS)),
            "portal_note": chance.percent(10).then(|| names::prose(chance, 12)),
        })
    }

    fn deal(&self, number: u64, chance: &mut Chance) -> Value {
        let (stage, ..) = STAGES[chance.below(7) as usize];
        json!({
            "dealname": format!("{} - {}", names::company(number % self.book.made("companies").max(25)), chance.pick(&["renewal", "pilot", "expansion"])),
            "amount": chance.percent(85).then(|| chance.between(100, 9_000_000) as f64 / 100.0),
            "dealstage": stage, "pipeline": "default", "closedate": 1_767_225_600_000 + chance.between(-400, 200) * 86_400_000,
            "hubspot_owner_id": self.owner(number), "dealtype": chance.pick(&["newbusiness", "existingbusiness"]),
            "deal_currency_code": chance.pick(&["USD", "EUR", "GBP"]), "num_notes": chance.below(9),
            "description": chance.percent(30).then(|| names::prose(chance, 15)),
        })
    }

    /// A record of one of the other collections.
    pub fn draft_other(
        &self,
        collection: &str,
        number: u64,
        at_ms: i64,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let mut chance = self.chance(collection, number);
        let chance = &mut chance;
        let recipient = |number: u64| names::mailbox(number, number % self.book.made("companies").max(25));
        let made = match collection {
            "owners" => {
                let (first, last) = names::person(number + 7);
                json!({
                    "id": (70_000_001 + number).to_string(), "email": format!("owner{number}@portal.example"), "type": "PERSON",
                    "firstName": first, "lastName": last, "userId": 5_000_001 + number, "userIdIncludingInactive": 5_000_001 + number,
                    "archived": false, "teams": [{"id": "900", "name": "Sales", "primary": true}],
                })
            }
            "contact_lists" => json!({
                "listId": (number + 1).to_string(), "listVersion": 1, "filtersUpdatedAt": iso(at_ms), "processingStatus": "COMPLETE",
                "createdById": "5000001", "updatedById": "5000001", "processingType": chance.pick(&["DYNAMIC", "MANUAL", "SNAPSHOT"]),
                "objectTypeId": if number % 5 == 4 { "0-2" } else { "0-1" }, "name": format!("List {} {}", number + 1, chance.pick(&["buyers", "churned", "webinar"])),
                "deletedAt": null,
                "additionalProperties": {
                    "hs_list_size": chance.below(5000).to_string(), "hs_last_record_added_at": at_ms.to_string(),
                    "hs_last_record_removed_at": chance.percent(40).then(|| at_ms.to_string()), "hs_folder_name": null,
                    "hs_list_reference_count": chance.below(4).to_string(), "hs_list_size_week_delta": chance.between(-20, 20).to_string(),
                },
            }),
            "forms" => {
                let kinds = ["hubspot", "captured", "hubspot", "flow", "blog_comment"];
                json!({
                    "id": uuid(900_000 + number), "name": format!("Form {}", number + 1), "archived": false,
                    "formType": kinds[(number % 5) as usize], "fieldGroups": [],
                    "configuration": {
                        "language": "en", "cloneable": true, "editable": true, "archivable": true, "recaptchaEnabled": false,
                        "createNewContactForNewEmail": false, "allowLinkToResetKnownValues": false, "prePopulateKnownValues": true,
                        "notifyContactOwner": false, "notifyRecipients": [], "lifecycleStages": [],
                        "postSubmitAction": {"type": "thank_you", "value": "Thanks"},
                    },
                    "displayOptions": {
                        "renderRawHtml": false, "theme": "default_style", "submitButtonText": "Submit",
                        "style": {
                            "fontFamily": "arial", "backgroundWidth": "100%", "labelTextColor": "#33475b", "labelTextSize": "13px",
                            "helpTextColor": "#7C98B6", "helpTextSize": "11px", "legalConsentTextColor": "#33475b",
                            "legalConsentTextSize": "14px", "submitColor": "#ff7a59", "submitAlignment": "left",
                            "submitFontColor": "#ffffff", "submitSize": "12px",
                        },
                    },
                    "legalConsentOptions": {"type": "none"},
                })
            }
            "form_submissions" => {
                let forms = self.book.all_latest("forms");
                let forms: Vec<_> = forms.iter().filter(|form| form.text("formType") != "blog_comment").collect();
                let form = forms.get((number % forms.len().max(1) as u64) as usize).map(|form| form.id.to_string());
                let (first, last) = names::person(number);
                json!({
                    "formId": form, "conversionId": uuid(800_000_000 + number),
                    "values": [
                        {"name": "email", "value": recipient(number), "objectTypeId": "0-1"},
                        {"name": "firstname", "value": first, "objectTypeId": "0-1"},
                        {"name": "lastname", "value": last, "objectTypeId": "0-1"},
                    ],
                    "pageUrl": format!("https://www.portal.example/page-{}", number % 7),
                })
            }
            "email_campaigns" => {
                let sent = 100 + chance.below(9000);
                json!({
                    "id": 110_000_001 + number, "appId": if number % 3 == 2 { 20_185 } else { 113 },
                    "appName": if number % 3 == 2 { "AbBatch" } else { "Batch" }, "contentId": 6_400_000_001_u64 + number,
                    "name": format!("Newsletter {}", number + 1), "subject": format!("News of {}", names::company(number)),
                    "type": "BATCH_EMAIL", "subType": if number % 3 == 2 { "AB" } else { "BATCH" }, "processingState": "PROCESSED",
                    "numIncluded": sent, "numQueued": sent, "lastProcessingStartedAt": at_ms - 60_000,
                    "lastProcessingFinishedAt": at_ms - 2_000, "lastProcessingStateChangeAt": at_ms - 2_000,
                    "counters": {
                        "processed": sent, "sent": sent, "delivered": sent - sent / 20, "open": sent / 3, "click": sent / 11,
                        "bounce": sent / 40, "dropped": sent / 90, "deferred": sent / 70, "unsubscribed": sent / 200,
                        "statuschange": sent / 180, "mta_dropped": 0, "suppressed": 0, "spamreport": sent / 900, "forward": 0,
                        "print": 0, "reply": sent / 500,
                    },
                })
            }
            "email_events" => self.email_event(number, at_ms, chance, &recipient(number / 3)),
            "email_subscription_event_changes" => {
                let cause = json!({"id": uuid(700_000_000 + number), "created": at_ms});
                let change = chance.pick(&["UNSUBSCRIBED", "SUBSCRIBED", "UNSUBSCRIBED"]);
                let source = chance.pick(&["SOURCE_RECIPIENT", "SOURCE_ADMIN_IMPORT"]);
                let portal = json!({
                    "change": change, "source": source, "portalId": PORTAL, "changeType": "PORTAL_STATUS", "causedByEvent": cause,
                });
                let one = |id: i64| {
                    json!({
                        "change": change, "source": source, "portalId": PORTAL, "subscriptionId": id,
                        "changeType": "SUBSCRIPTION_STATUS", "causedByEvent": cause,
                    })
                };
                let changes = match number % 4 {
                    0 => json!([{
                        "change": "BOUNCED", "source": "SOURCE_NON_DELIVERY_REPORT", "portalId": PORTAL, "changeType": "PORTAL_BOUNCE",
                        "causedByEvent": cause,
                    }]),
                    1 => json!([one(TYPES[0].0), one(TYPES[1].0), portal]),
                    _ => json!([one(TYPES[(number % 3) as usize].0)]),
                };
                json!({
                    "id": number.to_string(), "portalId": PORTAL, "recipient": recipient(number),
                    "normalizedEmailId": uuid(600_000_000 + number), "changes": changes,
                })
            }
            "email_subscriptions" => {
                let (id, name, _) = TYPES[(number % 3) as usize];
                json!({
                    "subscriberIdString": recipient(number), "subscriptionId": id, "subscriptionName": name, "channel": "EMAIL",
                    "status": chance.pick(&["SUBSCRIBED", "UNSUBSCRIBED"]), "source": "Form submission",
                    "legalBasis": "LEGITIMATE_INTEREST_CLIENT", "legalBasisExplanation": "Existing customer",
                    "setStatusSuccessReason": null, "businessUnitId": 0,
                })
            }
            _ => return Err(format!("{collection} cannot be created")),
        };
        let mut fields = made.as_object().cloned().unwrap_or_default();
        crud::merge(&mut fields, given);
        if collection == "form_submissions" && !fields.get("formId").is_some_and(Value::is_string) {
            return Err("a submission needs a form: make forms first".into());
        }
        if let Some(id) = fields.get("subscriptionId").and_then(Value::as_i64) {
            let known =
                TYPES.iter().find(|(known, ..)| *known == id).ok_or(format!("there is no subscription type {id}"))?;
            fields.insert("subscriptionName".into(), json!(known.1));
        }
        Ok(fields)
    }

    /// Of every forty events two share their id: only with the time of creation it names one.
    fn email_event(&self, number: u64, at_ms: i64, chance: &mut Chance, recipient: &str) -> Value {
        let kind = EVENTS[(number % 10) as usize];
        let repeats = u64::from(number % 40 == 39);
        let campaign = match self.book.made("email_campaigns") {
            0 => 0,
            made => 110_000_001 + number % made,
        };
        let mut event = json!({
            "id": uuid(500_000_000 + number - repeats), "created": at_ms + repeats as i64, "type": kind, "recipient": recipient,
            "portalId": PORTAL, "appId": if (campaign % 3) == 1 { 20_185 } else { 113 }, "appName": "Batch", "emailCampaignId": campaign,
            "smtpId": null, "sentBy": {"id": uuid(400_000_000 + number), "created": at_ms - 90_000}, "filteredEvent": number % 25 == 24,
        });
        let extra = match kind {
            "OPEN" | "CLICK" => json!({
                "userAgent": "Mozilla/5.0", "deviceType": chance.pick(&["COMPUTER", "MOBILE"]),
                "browser": {"name": "Firefox", "family": "Firefox", "producer": "Mozilla Foundation", "type": "Browser", "version": []},
                "location": {"country": "United States", "state": "california", "city": "san francisco"},
                "duration": chance.between(0, 20_000), "url": (kind == "CLICK").then(|| format!("https://www.portal.example/page-{}", number % 7)),
            }),
            "SENT" => {
                json!({"subject": format!("News of {}", names::company(number)), "from": "news@portal.example", "replyTo": ["news@portal.example"], "cc": [], "bcc": []})
            }
            "BOUNCE" => {
                json!({"category": "UNKNOWN_USER", "status": "5.1.1", "response": "550 5.1.1 user unknown", "attempt": 1})
            }
            "DEFERRED" => json!({"attempt": 1 + chance.below(3), "response": "421 try again later"}),
            "DELIVERED" => json!({"response": "250 ok"}),
            "DROPPED" => json!({"dropReason": "PREVIOUSLY_BOUNCED", "dropMessage": "bounced before"}),
            _ => json!({
                "source": "SOURCE_RECIPIENT", "requestedBy": recipient, "portalSubscriptionStatus": "UNSUBSCRIBED",
                "subscriptions": [{"id": TYPES[0].0, "status": "UNSUBSCRIBED"}],
            }),
        };
        if let (Some(event), Some(extra)) = (event.as_object_mut(), extra.as_object()) {
            event.extend(extra.clone());
        }
        event
    }
}

fn company(number: u64, chance: &mut Chance) -> Value {
    let (city, state, zip, country, ..) = names::TOWNS[chance.below(10) as usize];
    json!({
        "name": names::company(number), "domain": names::domain(number), "phone": format!("+1 555 {}", chance.digits(7)),
        "website": format!("https://{}", names::domain(number)), "address": names::street(chance), "city": city, "state": state,
        "zip": zip, "country": country, "industry": chance.pick(&["ACCOUNTING", "BANKING", "MARITIME", "COMPUTER_SOFTWARE"]),
        "lifecyclestage": chance.pick(&["lead", "opportunity", "customer"]), "numberofemployees": chance.between(1, 9000),
        "annualrevenue": chance.between(10_000, 90_000_000), "description": chance.percent(40).then(|| names::prose(chance, 20)),
        "type": chance.pick(&["PROSPECT", "PARTNER", "VENDOR"]), "is_public": chance.percent(30).then_some(true),
        "founded_year": chance.between(1950, 2024).to_string(), "num_associated_contacts": 0,
        "renewal_date": chance.percent(20).then(|| format!("2026-{:02}-{:02}", 1 + chance.below(12), 1 + chance.below(28))),
    })
}
