//! Decides which rows answer a request for insights.
//!
//! One row for each object of the level and each stretch of `time_increment` days that has figures. All figures are text.
//! Objects that are deleted are left out unless a filter on `effective_status` names them, or they are asked themselves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use chrono::NaiveDate;
use serde_json::{json, Value};

use super::asked::{day, Asked, Increment};
use super::errors::Refusal;
use super::fields::{self, Fields};
use super::filters::{self, Filter};
use super::nodes::{level, Look};

impl Asked {
    /// The rows for an object and all below it.
    pub fn rows(&self, look: Look<'_>, collection: &'static str, id: &str) -> Result<Vec<Value>, Refusal> {
        let stretches = self.stretches();
        let Some(asked) = look.get(collection, id) else { return Ok(Vec::new()) };
        let account = asked.text("account_id").to_string();
        let account_node = look.account(&account).map(|a| look.node("ad_accounts", &a)).unwrap_or_default();
        let needed = self.needed();
        // Of each ad: what it is, if its figures are asked for.
        let mut known: HashMap<String, Option<Rc<Ad>>> = HashMap::new();
        let mut rows: BTreeMap<(u64, usize), Row> = BTreeMap::new();
        let mut facts = look.book.children("insights", &account);
        if look.is_truth {
            facts = look.book.all_latest("insights");
            facts.retain(|fact| fact.text("account_id") == account);
        }
        for fact in facts {
            let Some(date) = day(fact.text("date_start")) else { continue };
            let within = |(_, (from, to)): &(usize, &(NaiveDate, NaiveDate))| *from <= date && date <= *to;
            let mut in_stretches = stretches.iter().enumerate().filter(within).peekable();
            if in_stretches.peek().is_none() {
                continue;
            }
            let ad_id = fact.text("ad_id");
            if !known.contains_key(ad_id) {
                let ad = match Ad::of(look, ad_id) {
                    Some(ad) if self.means(&ad, collection, id)? => Some(Rc::new(ad)),
                    _ => None,
                };
                known.insert(ad_id.to_string(), ad);
            }
            let Some(ad) = known.get(ad_id).and_then(Option::as_ref) else { continue };
            for (at, _) in in_stretches {
                let row = rows.entry((ad.number(&self.level), at));
                row.or_insert_with(|| Row { ad: Rc::clone(ad), ..Row::default() }).add(&fact.fields, &needed);
            }
        }
        let mut sent = Vec::new();
        for ((_, at), row) in rows {
            let (from, to) = stretches[at];
            let row = row.json(&self.fields, &self.level, &account_node, (&from.to_string(), &to.to_string()));
            let counted = self.filters.iter().filter(|f| is_figure(&f.field));
            if counted.into_iter().all(|f| f.holds(row.get(&f.field).unwrap_or(&Value::Null))) {
                sent.push(row);
            }
        }
        Ok(sent)
    }

    /// Whether the figures of an ad count for what was asked of the object.
    fn means(&self, ad: &Ad, collection: &str, id: &str) -> Result<bool, Refusal> {
        let id = json!(id);
        let is_inside = match collection {
            "campaigns" => ad.campaign.get("id") == Some(&id),
            "ad_sets" => ad.set.get("id") == Some(&id),
            "ads" => ad.ad.get("id") == Some(&id),
            _ => true,
        };
        let object = ad.object(&self.level);
        let is_deleted = object.is_some_and(|o| o.get("effective_status") == Some(&json!("DELETED")));
        let names_status = self.filters.iter().any(Filter::is_on_status);
        let asks_itself = level(collection) == self.level;
        Ok(is_inside && (!is_deleted || names_status || asks_itself) && self.keeps(ad)?)
    }

    /// What is counted of a fact for the fields and filters.
    fn needed(&self) -> HashSet<&str> {
        let mut needed: HashSet<&str> = self.filters.iter().map(|filter| filter.field.as_str()).collect();
        for field in &self.fields {
            needed.insert(field);
            if let Some((above, below, _)) = ratio(field) {
                needed.extend([above, below]);
            }
            if let Some((list, _)) = derived_list(field) {
                needed.extend([list, "spend", "impressions"]);
            }
            if field == "purchase_roas" {
                needed.extend(["action_values", "spend"]);
            }
        }
        needed
    }

    /// Whether the filters on objects leave an ad in.
    fn keeps(&self, ad: &Ad) -> Result<bool, Refusal> {
        for filter in self.filters.iter().filter(|f| !is_figure(&f.field)) {
            let object = match filter.level.as_str() {
                "campaign" => &ad.campaign,
                "adset" => &ad.set,
                "ad" => &ad.ad,
                _ => ad.object(&self.level).unwrap_or(&ad.ad),
            };
            let prefix = if filter.level.is_empty() { self.level.as_str() } else { filter.level.as_str() };
            // The object's own rules for what is archived or deleted are not those of insights.
            let mut own = filter.clone();
            own.level.clear();
            let mut object = object.clone();
            if !filter.is_on_status() {
                object.remove("effective_status");
            }
            if !filters::keep(&[own], prefix, &object)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_figure(field: &str) -> bool {
    matches!(field, "impressions" | "clicks" | "spend" | "reach")
}

/// An ad with what is above it, as nodes.
#[derive(Default)]
struct Ad {
    ad: Fields,
    set: Fields,
    campaign: Fields,
    numbers: (u64, u64, u64),
}

impl Ad {
    fn of(look: Look<'_>, id: &str) -> Option<Ad> {
        let ad = look.get("ads", id)?;
        let set = look.get("ad_sets", ad.text("adset_id"))?;
        let campaign = look.get("campaigns", ad.text("campaign_id"))?;
        Some(Ad {
            ad: look.node("ads", &ad),
            set: look.node("ad_sets", &set),
            campaign: look.node("campaigns", &campaign),
            numbers: (campaign.number, set.number, ad.number),
        })
    }

    fn object(&self, level: &str) -> Option<&Fields> {
        match level {
            "ad" => Some(&self.ad),
            "adset" => Some(&self.set),
            "campaign" => Some(&self.campaign),
            _ => None,
        }
    }

    fn number(&self, level: &str) -> u64 {
        match level {
            "ad" => self.numbers.2,
            "adset" => self.numbers.1,
            "campaign" => self.numbers.0,
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Row {
    ad: Rc<Ad>,
    figures: BTreeMap<String, f64>,
    lists: BTreeMap<String, BTreeMap<String, f64>>,
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).or(value.as_f64()).unwrap_or(0.0)
}

/// Up to six decimals, without zeros at the end.
fn decimal(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Numerator, denominator and factor.
fn ratio(field: &str) -> Option<(&'static str, &'static str, f64)> {
    Some(match field {
        "cpc" => ("spend", "clicks", 1.0),
        "cpm" => ("spend", "impressions", 1000.0),
        "cpp" => ("spend", "reach", 1000.0),
        "ctr" => ("clicks", "impressions", 100.0),
        "frequency" => ("impressions", "reach", 1.0),
        "unique_ctr" => ("unique_clicks", "reach", 100.0),
        "inline_link_click_ctr" => ("inline_link_clicks", "impressions", 100.0),
        "unique_inline_link_click_ctr" => ("unique_inline_link_clicks", "reach", 100.0),
        "unique_link_clicks_ctr" => ("unique_inline_link_clicks", "reach", 100.0),
        "cost_per_unique_click" => ("spend", "unique_clicks", 1.0),
        "cost_per_inline_link_click" => ("spend", "inline_link_clicks", 1.0),
        "cost_per_unique_inline_link_click" => ("spend", "unique_inline_link_clicks", 1.0),
        "cost_per_inline_post_engagement" => ("spend", "inline_post_engagement", 1.0),
        _ => return None,
    })
}

/// A list of costs or rates, and the list it is made of.
fn derived_list(field: &str) -> Option<(&'static str, bool)> {
    Some(match field {
        "cost_per_action_type" => ("actions", true),
        "cost_per_unique_action_type" => ("unique_actions", true),
        "cost_per_conversion" => ("conversions", true),
        "cost_per_outbound_click" => ("outbound_clicks", true),
        "cost_per_unique_outbound_click" => ("unique_outbound_clicks", true),
        "outbound_clicks_ctr" => ("outbound_clicks", false),
        "unique_outbound_clicks_ctr" => ("unique_outbound_clicks", false),
        _ => return None,
    })
}

impl Row {
    fn add(&mut self, fact: &Fields, needed: &HashSet<&str>) {
        for (name, value) in fact.iter().filter(|(name, _)| needed.contains(name.as_str())) {
            match value {
                Value::Array(list) => {
                    let sums = self.lists.entry(name.clone()).or_default();
                    for one in list {
                        let kind = one["action_type"].as_str().unwrap_or("").to_string();
                        *sums.entry(kind).or_default() += number(&one["value"]);
                    }
                }
                Value::String(_) | Value::Number(_) if !name.ends_with("_id") && !name.starts_with("date_") => {
                    *self.figures.entry(name.clone()).or_default() += number(value);
                }
                _ => {}
            }
        }
    }

    fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(0.0)
    }

    fn json(&self, fields: &[String], level: &str, account: &Fields, (from, to): (&str, &str)) -> Value {
        let mut row = json!({});
        for field in fields {
            let value = self.attribute(field, level, account).unwrap_or_else(|| self.value(field));
            if !value.is_null() {
                row[field] = value;
            }
        }
        row["date_start"] = json!(from);
        row["date_stop"] = json!(to);
        row
    }

    /// What is known of the objects themselves; `null` for those below the level.
    fn attribute(&self, field: &str, level: &str, account: &Fields) -> Option<Value> {
        let rank = |level: &str| ["account", "campaign", "adset", "ad"].iter().position(|l| *l == level).unwrap_or(0);
        let of = |object: &Fields, member: &str, needs: &str| match rank(level) >= rank(needs) {
            true => object.get(member).cloned().unwrap_or_default(),
            false => Value::Null,
        };
        let (ad, set, campaign) = (&self.ad.ad, &self.ad.set, &self.ad.campaign);
        Some(match field {
            "account_id" => of(account, "account_id", "account"),
            "account_name" => of(account, "name", "account"),
            "account_currency" => of(account, "currency", "account"),
            "campaign_id" => of(campaign, "id", "campaign"),
            "campaign_name" => of(campaign, "name", "campaign"),
            "objective" => of(campaign, "objective", "campaign"),
            "buying_type" => of(campaign, "buying_type", "campaign"),
            "adset_id" => of(set, "id", "adset"),
            "adset_name" => of(set, "name", "adset"),
            "optimization_goal" => of(set, "optimization_goal", "adset"),
            "attribution_setting" => json!("7d_click_1d_view"),
            "ad_id" => of(ad, "id", "ad"),
            "ad_name" => of(ad, "name", "ad"),
            "created_time" | "updated_time" => {
                let object = self.ad.object(level).unwrap_or(account);
                let time = object.get(field).and_then(Value::as_str).unwrap_or("");
                time.get(..10).map_or(Value::Null, |date| json!(date))
            }
            _ => return None,
        })
    }

    fn value(&self, field: &str) -> Value {
        if let Some((above, below, factor)) = ratio(field) {
            let below = self.figure(below);
            return if below == 0.0 { Value::Null } else { json!(decimal(self.figure(above) / below * factor)) };
        }
        if let Some((list, is_cost)) = derived_list(field) {
            return self.list(list, |n| {
                decimal(if is_cost { self.figure("spend") / n } else { n / self.figure("impressions") * 100.0 })
            });
        }
        if field == "purchase_roas" {
            let spend = self.figure("spend");
            let bought = self.lists.get("action_values").and_then(|l| l.get("omni_purchase")).copied().unwrap_or(0.0);
            let is_known = spend > 0.0 && bought > 0.0;
            return if is_known {
                json!([{"action_type": "omni_purchase", "value": decimal(bought / spend)}])
            } else {
                Value::Null
            };
        }
        if self.lists.contains_key(field) {
            return self.list(field, decimal);
        }
        self.figures.get(field).map_or(Value::Null, |n| json!(decimal(*n)))
    }

    fn list(&self, name: &str, shown: impl Fn(f64) -> String) -> Value {
        let counted = self.lists.get(name).into_iter().flatten().filter(|(_, n)| **n > 0.0);
        let list: Vec<Value> = counted.map(|(kind, n)| json!({"action_type": kind, "value": shown(*n)})).collect();
        if list.is_empty() {
            Value::Null
        } else {
            Value::Array(list)
        }
    }
}

/// Every row there truly is, for each ad and day with all fields: the ledger.
pub fn all(look: Look<'_>) -> Vec<Value> {
    let fields: Vec<String> = fields::all("insights").map(str::to_string).collect();
    let mut found = Vec::new();
    for account in look.book.all_latest("ad_accounts") {
        let ends =
            look.book.all_latest("insights").iter().filter_map(|f| day(f.text("date_start"))).fold(None, |ends, d| {
                let (low, high) = ends.unwrap_or((d, d));
                Some((low.min(d), high.max(d)))
            });
        let Some(ends) = ends else { continue };
        let everything = Filter::any_status();
        let asked = Asked {
            level: "ad".into(),
            fields: fields.clone(),
            ranges: vec![ends],
            increment: Increment::Days(1),
            filters: vec![everything],
        };
        found.extend(asked.rows(look, "ad_accounts", &account.id).unwrap_or_default());
    }
    found
}
