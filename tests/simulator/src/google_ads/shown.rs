//! Decides what the API shows of one account to a query: records, and the views over them that no record holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::data::{customer_of, object, tail, FACTS};
use super::eval::{Fields, Source};
use crate::rest::{Book, Record};

/// What the API shows of one account, ready to be asked. Holds copies of what no record holds as such.
pub struct Shown {
    records: Vec<(&'static str, Vec<Arc<Record>>)>,
    customer: Fields,
    /// Made for this look: budgets that came with campaigns, views over facts, accounts below a manager.
    made: Vec<Fields>,
}

impl Shown {
    pub fn of(book: &Book, customer: &Record, from: &str) -> Shown {
        let wanted: &[&'static str] = match from {
            "customer_client" => &["customers"],
            "campaign_budget" => &["campaign_budgets"],
            "campaign" => &["campaign_budgets", "campaigns", "ad_groups", "ad_performance_report"],
            "ad_group_criterion" | "keyword_view" => {
                &["campaigns", "ad_groups", "keywords", "keywords_performance_report"]
            }
            "search_term_view" => &["campaigns", "ad_groups", "ads", "search_performance_report"],
            "click_view" => &["campaigns", "ad_groups", "click_performance_report"],
            _ => &["campaigns", "ad_groups", "ads", "ad_performance_report"],
        };
        let mut records: Vec<(&'static str, Vec<Arc<Record>>)> =
            wanted.iter().map(|name| (*name, book.shown(name))).collect();
        let groups: HashSet<String> = book
            .shown("ad_groups")
            .iter()
            .filter(|group| customer_of(&group.fields) == &*customer.id)
            .map(|group| group.id.to_string())
            .collect();
        for (name, list) in &mut records {
            match *name {
                "customers" => {}
                name if FACTS.contains(&name) => list.retain(|fact| groups.contains(fact.text("adGroupId"))),
                _ => list.retain(|record| customer_of(&record.fields) == &*customer.id),
            }
        }
        let mut shown = Shown { records, customer: customer.fields.clone(), made: Vec::new() };
        shown.make(from);
        shown
    }

    fn list(&self, name: &str) -> &[Arc<Record>] {
        self.records.iter().find(|(n, _)| *n == name).map_or(&[], |(_, list)| list)
    }

    fn make(&mut self, from: &str) {
        let customer = customer_of(&self.customer).to_string();
        let made: Vec<Fields> = match from {
            "customer_client" => self.below(),
            "keyword_view" => {
                let keywords = self.list("keywords").iter();
                keywords
                    .map(|keyword| {
                        let name = keyword.text("resourceName").replace("adGroupCriteria", "keywordViews");
                        object(json!({"resourceName": name}))
                    })
                    .collect()
            }
            "search_term_view" => {
                let campaigns = self.campaigns_by_group();
                let facts = self.list("search_performance_report").iter();
                facts
                    .map(|fact| {
                        let campaign = campaigns.get(fact.text("adGroupId")).copied().unwrap_or("");
                        search_term(&customer, campaign, fact)
                    })
                    .collect()
            }
            "click_view" => {
                let clicks = self.list("click_performance_report").iter();
                clicks
                    .map(|click| {
                        let mut fields = click.fields.clone();
                        let day = click.get("segments")["date"].as_str().unwrap_or("").to_string();
                        let name = format!("customers/{customer}/clickViews/{day}~{}", click.text("gclid"));
                        fields.insert("resourceName".into(), json!(name));
                        fields
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        self.made = made;
    }

    /// The id of each ad group's campaign.
    fn campaigns_by_group(&self) -> HashMap<&str, &str> {
        self.list("ad_groups").iter().map(|group| (&*group.id, tail(group.text("campaign")))).collect()
    }

    /// The account itself and all below it, with their distance.
    fn below(&self) -> Vec<Fields> {
        let top = customer_of(&self.customer).to_string();
        let mut found: Vec<Fields> = Vec::new();
        let mut level = vec![top.clone()];
        for distance in 0..10 {
            let mut next = Vec::new();
            for record in self.list("customers").iter().filter(|c| level.contains(&c.id.to_string())) {
                let mut fields = record.fields.clone();
                let name = format!("customers/{top}/customerClients/{}", record.id);
                fields.insert("clientCustomer".into(), json!(format!("customers/{}", record.id)));
                fields.insert("resourceName".into(), json!(name));
                fields.insert("level".into(), json!(distance.to_string()));
                found.push(fields);
                let children = self.list("customers").iter().filter(|c| c.text("managedBy") == &*record.id);
                next.extend(children.map(|child| child.id.to_string()));
            }
            level = next;
        }
        found
    }

    /// What a query runs over: each record of the finest kind with its facts.
    pub fn sources(&self, from: &str) -> Vec<Source<'_>> {
        let mut groups: HashMap<&str, (&Fields, Option<&Fields>)> = Default::default();
        let campaigns: HashMap<&str, &Fields> = self.list("campaigns").iter().map(|c| (&*c.id, &c.fields)).collect();
        for group in self.list("ad_groups") {
            let campaign = campaigns.get(tail(group.text("campaign"))).copied();
            groups.insert(&group.id, (&group.fields, campaign));
        }
        let facts = |name: &str, by: &dyn Fn(&Record) -> String| {
            let mut found: HashMap<String, Vec<&Fields>> = Default::default();
            for fact in self.list(name) {
                found.entry(by(fact)).or_default().push(&fact.fields);
            }
            found
        };
        let above = |group: &str| {
            let mut parts = vec![("customer", &self.customer)];
            if let Some((group, campaign)) = groups.get(group) {
                parts.push(("ad_group", *group));
                parts.extend(campaign.map(|campaign| ("campaign", campaign)));
            }
            parts
        };
        let group_of = |record: &Record| tail(record.text("adGroup")).to_string();
        match from {
            "customer_client" => self.with_customer("customer_client"),
            "campaign_budget" => {
                let budgets = self.list("campaign_budgets").iter();
                budgets
                    .map(|budget| Source {
                        parts: vec![("customer", &self.customer), ("campaign_budget", &budget.fields)],
                        facts: Vec::new(),
                    })
                    .collect()
            }
            "customer" => {
                let all = self.list("ad_performance_report").iter().map(|fact| &fact.fields).collect();
                vec![Source { parts: vec![("customer", &self.customer)], facts: all }]
            }
            "campaign" => {
                let by_group = self.campaigns_by_group();
                let campaign = |fact: &Record| by_group.get(fact.text("adGroupId")).copied().unwrap_or("").to_string();
                let mut figures = facts("ad_performance_report", &campaign);
                let budgets: HashMap<&str, &Fields> =
                    self.list("campaign_budgets").iter().map(|b| (&*b.id, &b.fields)).collect();
                let campaigns = self.list("campaigns").iter();
                campaigns
                    .map(|campaign| {
                        let budget = budgets.get(tail(campaign.text("campaignBudget"))).copied();
                        let mut parts = vec![("customer", &self.customer), ("campaign", &campaign.fields)];
                        parts.extend(budget.map(|budget| ("campaign_budget", budget)));
                        Source { parts, facts: figures.remove(&*campaign.id).unwrap_or_default() }
                    })
                    .collect()
            }
            "ad_group" => {
                let mut figures = facts("ad_performance_report", &|fact| fact.text("adGroupId").to_string());
                let all = self.list("ad_groups").iter();
                all.map(|group| Source {
                    parts: above(&group.id),
                    facts: figures.remove(&*group.id).unwrap_or_default(),
                })
                .collect()
            }
            "ad_group_ad" => {
                let mut figures = facts("ad_performance_report", &|fact| fact.text("adId").to_string());
                let ads = self.list("ads").iter();
                ads.map(|ad| {
                    let mut parts = above(&group_of(ad));
                    parts.push(("ad_group_ad", &ad.fields));
                    Source { parts, facts: figures.remove(&*ad.id).unwrap_or_default() }
                })
                .collect()
            }
            "ad_group_criterion" | "keyword_view" => {
                let mut figures = facts("keywords_performance_report", &|fact| fact.text("criterionId").to_string());
                let keywords = self.list("keywords").iter().enumerate();
                keywords
                    .map(|(at, keyword)| {
                        let mut parts = above(&group_of(keyword));
                        parts.push(("ad_group_criterion", &keyword.fields));
                        parts.extend(self.made.get(at).map(|view| ("keyword_view", view)));
                        Source { parts, facts: figures.remove(&*keyword.id).unwrap_or_default() }
                    })
                    .collect()
            }
            "search_term_view" => {
                let ads: HashMap<&str, &Fields> = self.list("ads").iter().map(|ad| (&*ad.id, &ad.fields)).collect();
                let facts = self.list("search_performance_report").iter().zip(&self.made);
                facts
                    .map(|(fact, view)| {
                        let mut parts = above(fact.text("adGroupId"));
                        parts.push(("search_term_view", view));
                        parts.extend(ads.get(fact.text("adId")).map(|ad| ("ad_group_ad", *ad)));
                        Source { parts, facts: vec![&fact.fields] }
                    })
                    .collect()
            }
            "click_view" => {
                let clicks = self.list("click_performance_report").iter().zip(&self.made);
                clicks
                    .map(|(click, view)| {
                        let mut parts = above(click.text("adGroupId"));
                        parts.push(("click_view", view));
                        Source { parts, facts: vec![&click.fields] }
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn with_customer(&self, name: &'static str) -> Vec<Source<'_>> {
        let made = self.made.iter();
        made.map(|one| Source { parts: vec![("customer", &self.customer), (name, one)], facts: Vec::new() }).collect()
    }
}

fn search_term(customer: &str, campaign: &str, fact: &Record) -> Fields {
    use base64::Engine;
    let group = fact.text("adGroupId");
    let coded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(fact.text("searchTerm"));
    object(json!({
        "resourceName": format!("customers/{customer}/searchTermViews/{campaign}~{group}~{coded}"),
        "searchTerm": fact.text("searchTerm"), "adGroup": format!("customers/{customer}/adGroups/{group}"),
        "status": fact.text("status"),
    }))
}
