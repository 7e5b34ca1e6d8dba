//! Decides what a request for insights means and which rows answer it.
//!
//! One row for each object of the level and each stretch of `time_increment` days that has figures. All figures are text.
//! Objects that are deleted are left out unless a filter on `effective_status` names them, or they are asked themselves.

use std::collections::{BTreeMap, HashMap};

use chrono::{Datelike, Days, Months, NaiveDate};
use serde_json::{json, Value};

use super::errors::Refusal;
use super::fields::{self, Fields};
use super::filters::{self, Filter};
use super::nodes::{level, Look};
use super::{data, filters::parse};

/// Figures older than this are not kept.
const MONTHS: u32 = 37;

pub struct Asked {
    level: String,
    fields: Vec<String>,
    pub ranges: Vec<(NaiveDate, NaiveDate)>,
    increment: Increment,
    filters: Vec<Filter>,
}

#[derive(Clone, Copy)]
enum Increment {
    Whole,
    Monthly,
    Days(u64),
}

fn day(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

/// Reads the parameters. `own_level` is that of the object asked; `today` is the account's day.
pub fn read(param: &dyn Fn(&str) -> Option<String>, own_level: &str, today: &str) -> Result<Asked, Refusal> {
    let today = day(today).unwrap_or_default();
    let wanted = fields::parse(&param("fields").unwrap_or_else(|| "account_id,impressions,spend".into()));
    if let Some(unknown) = wanted.iter().find(|w| !fields::has("insights", &w.name)) {
        return Err(Refusal::param(format!(
            "{} is not valid for fields param. please check https://developers.facebook.com/docs/marketing-api/reference/ads-insights/ for all valid values",
            unknown.name
        )));
    }
    if param("breakdowns").is_some_and(|text| !matches!(text.as_str(), "" | "[]")) {
        return Err(Refusal::param("breakdowns are not played here"));
    }
    let level = param("level").unwrap_or_else(|| own_level.to_string());
    if !["account", "campaign", "adset", "ad"].contains(&level.as_str()) {
        return Err(Refusal::param("level must be one of the following values: ad, adset, campaign, account"));
    }
    let increment = match param("time_increment").as_deref() {
        None | Some("all_days") => Increment::Whole,
        Some("monthly") => Increment::Monthly,
        Some(text) => match text.parse::<u64>() {
            Ok(days @ 1..=90) => Increment::Days(days),
            _ => return Err(Refusal::param("time_increment must be an integer between 1 and 90, monthly or all_days")),
        },
    };
    let ranges = ranges(param, today)?;
    let floor = today.checked_sub_months(Months::new(MONTHS)).unwrap_or(today);
    if ranges.iter().any(|(since, _)| *since < floor) {
        return Err(Refusal::too_early());
    }
    let fields = wanted.into_iter().map(|w| w.name).collect();
    Ok(Asked { level, fields, ranges, increment, filters: parse(param)? })
}

fn range(value: &Value) -> Result<(NaiveDate, NaiveDate), Refusal> {
    let part = |name: &str| value[name].as_str().and_then(day);
    let (Some(since), Some(until)) = (part("since"), part("until")) else {
        return Err(Refusal::param("Must be a date representation in the format YYYY-MM-DD"));
    };
    if since > until {
        return Err(Refusal::param("The since date must be before the until date"));
    }
    Ok((since, until))
}

fn ranges(param: &dyn Fn(&str) -> Option<String>, today: NaiveDate) -> Result<Vec<(NaiveDate, NaiveDate)>, Refusal> {
    let read = |text: String| {
        serde_json::from_str::<Value>(&text).map_err(|_| Refusal::param("param time_range must be a JSON object"))
    };
    if let Some(text) = param("time_ranges") {
        return read(text)?.as_array().cloned().unwrap_or_default().iter().map(range).collect();
    }
    if let Some(text) = param("time_range") {
        return Ok(vec![range(&read(text)?)?]);
    }
    let back = |days: u64| today.checked_sub_days(Days::new(days)).unwrap_or(today);
    let month = today.with_day(1).unwrap_or(today);
    let preset = param("date_preset").unwrap_or_else(|| "last_30d".into());
    Ok(vec![match preset.as_str() {
        "today" => (today, today),
        "yesterday" => (back(1), back(1)),
        "last_3d" => (back(3), back(1)),
        "last_7d" => (back(7), back(1)),
        "last_14d" => (back(14), back(1)),
        "last_28d" => (back(28), back(1)),
        "last_30d" => (back(30), back(1)),
        "last_90d" => (back(90), back(1)),
        "this_month" => (month, today),
        "last_month" => {
            let end = month.pred_opt().unwrap_or(month);
            (end.with_day(1).unwrap_or(end), end)
        }
        "this_year" => (today.with_ordinal(1).unwrap_or(today), today),
        "maximum" | "data_maximum" => (today.checked_sub_months(Months::new(MONTHS)).unwrap_or(today), today),
        _ => return Err(Refusal::param("date_preset must be one of the documented values")),
    }])
}

impl Asked {
    /// The stretches of time that have rows of their own.
    fn stretches(&self) -> Vec<(NaiveDate, NaiveDate)> {
        let mut found = Vec::new();
        for (since, until) in &self.ranges {
            let mut from = *since;
            while from <= *until {
                let next = match self.increment {
                    Increment::Whole => None,
                    Increment::Days(days) => from.checked_add_days(Days::new(days)),
                    Increment::Monthly => from.with_day(1).and_then(|first| first.checked_add_months(Months::new(1))),
                };
                let to = next.and_then(|next| next.pred_opt()).unwrap_or(*until).min(*until);
                found.push((from, to));
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        found
    }

    /// The rows for an object and all below it.
    pub fn rows(&self, look: Look<'_>, collection: &'static str, id: &str) -> Result<Vec<Value>, Refusal> {
        let stretches = self.stretches();
        let names_status = self.filters.iter().any(Filter::is_on_status);
        let Some(asked) = look.get(collection, id) else { return Ok(Vec::new()) };
        let account = asked.text("account_id").to_string();
        let account_node = look.account(&account).map(|a| look.node("ad_accounts", &a)).unwrap_or_default();
        let mut known: HashMap<String, Option<Ad>> = HashMap::new();
        let mut rows: BTreeMap<(u64, usize), Row> = BTreeMap::new();
        let mut facts = look.book.children("insights", &account);
        if look.is_truth {
            facts = look.book.all_latest("insights");
            facts.retain(|fact| fact.text("account_id") == account);
        }
        for fact in facts {
            let ad_id = fact.text("ad_id").to_string();
            let ad = known.entry(ad_id.clone()).or_insert_with(|| Ad::of(look, &ad_id));
            let Some(ad) = ad else { continue };
            let is_inside = match collection {
                "campaigns" => ad.campaign.get("id") == Some(&json!(id)),
                "ad_sets" => ad.set.get("id") == Some(&json!(id)),
                "ads" => ad_id == id,
                _ => true,
            };
            let object = ad.object(&self.level);
            let is_deleted = object.is_some_and(|o| o.get("effective_status") == Some(&json!("DELETED")));
            let asks_itself = level(collection) == self.level;
            if !is_inside || (is_deleted && !names_status && !asks_itself) || !self.keeps(ad)? {
                continue;
            }
            let Some(date) = day(fact.text("date_start")) else { continue };
            for (at, (from, to)) in stretches.iter().enumerate() {
                if *from <= date && date <= *to {
                    let number = ad.number(&self.level);
                    let row = rows.entry((number, at)).or_insert_with(|| Row { ad: ad.clone(), ..Row::default() });
                    row.add(&fact.fields);
                }
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
#[derive(Clone, Default)]
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
    ad: Ad,
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
    fn add(&mut self, fact: &Fields) {
        for (name, value) in fact {
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

/// The account's day, for a record of it.
pub fn today(look: Look<'_>, account: &str, now_ms: i64) -> String {
    data::today(&look.zone(account), now_ms)
}
