//! Decides how a record looks as a node: its times in the account's zone, and the status that its parents leave it.
//!
//! A campaign that is paused, archived or deleted passes that on to what is below it, without touching the `updated_time`
//! there (developers.facebook.com/docs/marketing-api/best-practices/manage-your-ad-object-status).

use std::sync::Arc;

use serde_json::{json, Value};

use super::data;
use super::fields::Fields;
use crate::rest::{Book, Record};

const TIMES: [&str; 6] = ["created_time", "updated_time", "start_time", "end_time", "stop_time", "ad_active_time"];

/// What objects can be filtered by.
pub const FILTERED: [&str; 8] =
    ["id", "campaign_id", "adset_id", "name", "updated_time", "created_time", "effective_status", "status"];

/// The records as the API shows them, or as they truly are.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub book: &'a Book,
    pub is_truth: bool,
}

/// The collections whose records have a node of their own, by the name of their edge.
pub fn edge(name: &str) -> Option<&'static str> {
    Some(match name {
        "campaigns" => "campaigns",
        "adsets" => "ad_sets",
        "ads" => "ads",
        _ => return None,
    })
}

/// What filters call the nodes of a collection.
pub fn level(collection: &str) -> &'static str {
    match collection {
        "campaigns" => "campaign",
        "ad_sets" => "adset",
        "ads" => "ad",
        _ => "account",
    }
}

impl<'a> Look<'a> {
    pub fn get(&self, collection: &str, id: &str) -> Option<Arc<Record>> {
        match self.is_truth {
            true => self.book.latest(collection, id),
            false => self.book.find(collection, id),
        }
    }

    /// Any object by its id alone.
    pub fn any(&self, id: &str) -> Option<(&'static str, Arc<Record>)> {
        ["ad_accounts", "campaigns", "ad_sets", "ads"].into_iter().find_map(|name| Some((name, self.get(name, id)?)))
    }

    pub fn account(&self, id: &str) -> Option<Arc<Record>> {
        self.get("ad_accounts", &format!("act_{id}"))
    }

    pub fn zone(&self, account: &str) -> String {
        self.account(account).map(|a| a.text("timezone_name").to_string()).unwrap_or_default()
    }

    pub fn effective_status(&self, collection: &str, record: &Record) -> String {
        let own = record.text("status");
        let above = |collection: &str, member: &str| {
            self.get(collection, record.text(member)).map(|parent| self.effective_status(collection, &parent))
        };
        let campaign = || above("campaigns", "campaign_id").unwrap_or_default();
        let set = || above("ad_sets", "adset_id").unwrap_or_default();
        let (campaign, set) = match collection {
            "ad_sets" => (campaign(), String::new()),
            "ads" => (campaign(), set()),
            _ => Default::default(),
        };
        for gone in ["DELETED", "ARCHIVED"] {
            if own == gone || campaign == gone || set == gone {
                return gone.into();
            }
        }
        if own != "ACTIVE" {
            return own.into();
        }
        if campaign == "PAUSED" {
            return "CAMPAIGN_PAUSED".into();
        }
        if set == "PAUSED" {
            return "ADSET_PAUSED".into();
        }
        // A review, for example, that a test gave it.
        let given = record.text("effective_status");
        if given.is_empty() || ["PAUSED", "DELETED", "ARCHIVED"].contains(&given) {
            "ACTIVE".into()
        } else {
            given.into()
        }
    }

    /// The newest version of a record and of what is above it: that changes its status.
    pub fn version(&self, record: &Record) -> u64 {
        let above = |collection: &str, member: &str| self.get(collection, record.text(member)).map_or(0, |r| r.version);
        record.version.max(above("campaigns", "campaign_id")).max(above("ad_sets", "adset_id"))
    }

    pub fn node(&self, collection: &str, record: &Record) -> Fields {
        let mut node = record.fields.clone();
        let zone = self.zone(record.text("account_id"));
        for name in TIMES {
            if let Some(time) = node.get(name).and_then(Value::as_str).and_then(|text| data::local(text, &zone)) {
                node.insert(name.into(), json!(time));
            }
        }
        if level(collection) != "account" {
            node.insert("effective_status".into(), json!(self.effective_status(collection, record)));
        }
        for (member, name, parents) in [("campaign_id", "campaign", "campaigns"), ("adset_id", "adset", "ad_sets")] {
            if let Some(parent) = node.get(member).and_then(Value::as_str).and_then(|id| self.get(parents, id)) {
                node.insert(name.into(), json!({"id": parent.text("id"), "name": parent.text("name")}));
            }
        }
        node
    }

    /// The members that filters look at: a whole node is made for those only that are sent.
    pub fn slim(&self, collection: &str, record: &Record) -> Fields {
        let mut slim = Fields::new();
        for name in FILTERED {
            if let Some(value) = record.fields.get(name) {
                slim.insert(name.into(), value.clone());
            }
        }
        slim.insert("effective_status".into(), json!(self.effective_status(collection, record)));
        slim
    }

    /// The objects of a collection below an object, newest first.
    pub fn below(&self, collection: &str, above: &'static str, id: &str) -> Vec<Arc<Record>> {
        let Some(parent) = self.get(above, id) else { return Vec::new() };
        let account = parent.text("account_id").to_string();
        let mut all = match self.is_truth {
            true => self.book.all_latest(collection),
            false => self.book.children(collection, &account),
        };
        all.retain(|record| {
            record.text("account_id") == account
                && match above {
                    "campaigns" => record.text("campaign_id") == id,
                    "ad_sets" => record.text("adset_id") == id,
                    _ => true,
                }
        });
        all.sort_by_key(|record| std::cmp::Reverse(record.number));
        all
    }
}
