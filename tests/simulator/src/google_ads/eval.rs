//! Decides which rows answer a query: which facts belong to a row, which rows are left out, and how they are written.
//!
//! A row is one combination of the FROM resource and all selected attributes and segments; its figures are the sums over
//! the facts that fall into it. With a segment selected, rows whose figures are all zero are left out
//! (developers.google.com/google-ads/api/docs/reporting/zero-metrics).

use std::collections::HashMap;

use serde_json::{json, Map, Value};

use super::dates;
use super::errors::Refusal;
use super::fields::{camel, Field, Kind};
use super::gaql::{Condition, Literal, Operator};
use super::metrics::Sums;
use super::plan::Plan;

/// One record of the finest kind behind a resource: its resources as JSON, and a day's figures if it has some.
pub struct Source<'a> {
    pub parts: Vec<(&'static str, &'a Fields)>,
    /// `{"segments": {..}, "metrics": {..}}`.
    pub facts: Vec<&'a Fields>,
}

/// A record's members.
pub type Fields = Map<String, Value>;

impl Plan {
    /// The rows, in the order asked for (otherwise as the sources come).
    pub fn run(&self, sources: &[Source<'_>], today: &str) -> Vec<Value> {
        let needs_facts = self.asks_metrics()
            || self.select.iter().any(|f| f.is_segment())
            || self.conditions.iter().any(|(f, _)| f.is_segment());
        let by_segment = self.select.iter().any(|f| f.is_segment())
            || (self.conditions.iter().any(|(f, _)| f.is_segment()) && !self.asks_metrics());
        let metrics: Vec<&'static Field> = self.metrics();
        let empty = Sums::of(metrics.iter().copied());
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for source in sources {
            if !self.conditions.iter().all(|(f, c)| f.is_metric() || f.is_segment() || holds(source, None, f, c, today))
            {
                continue;
            }
            let facts: Vec<Option<&Fields>> = match needs_facts {
                false => vec![None],
                true => source
                    .facts
                    .iter()
                    .filter(|fact| {
                        self.conditions.iter().all(|(f, c)| !f.is_segment() || holds(source, Some(fact), f, c, today))
                    })
                    .map(|fact| Some(*fact))
                    .collect(),
            };
            let facts = if facts.is_empty() && !by_segment { vec![None] } else { facts };
            // Attributes are those of the source; only segments differ from fact to fact.
            let own = self.key(source, None, false);
            for fact in facts {
                let key = format!("{own}{}", self.key(source, fact, true));
                let at = *places.entry(key).or_insert_with(|| {
                    groups.push(Group { source, fact, sums: empty.clone() });
                    groups.len() - 1
                });
                if let Some(fact) = fact {
                    groups[at].sums.add(fact);
                }
            }
        }
        let shown: Vec<&&'static Field> = self.select.iter().filter(|f| f.is_metric()).collect();
        groups.retain(|group| {
            let is_zero = !shown.is_empty() && shown.iter().all(|f| group.sums.value(f).unwrap_or(0.0) == 0.0);
            !(by_segment && is_zero)
                && self.conditions.iter().filter(|(f, _)| f.is_metric()).all(|(f, c)| {
                    let value = group.sums.value(f).map_or(Value::Null, |v| json!(v));
                    compare(f, c, &value, today)
                })
        });
        for (field, is_down) in self.order.iter().rev() {
            groups.sort_by(|a, b| {
                let ordering = ordered(field, &a.cell(field), &b.cell(field));
                if *is_down {
                    ordering.reverse()
                } else {
                    ordering
                }
            });
        }
        groups.truncate(self.limit.unwrap_or(usize::MAX));
        groups.iter().map(|group| self.row(group)).collect()
    }

    fn metrics(&self) -> Vec<&'static Field> {
        let asked = self.select.iter().copied();
        let filtered = self.conditions.iter().map(|(f, _)| *f);
        let ordered = self.order.iter().map(|(f, _)| *f);
        asked.chain(filtered).chain(ordered).filter(|f| f.is_metric()).collect()
    }

    fn key(&self, source: &Source<'_>, fact: Option<&Fields>, of_segments: bool) -> String {
        let mut key = if of_segments { String::new() } else { source.name_of(self.from.name).to_string() };
        for field in self.select.iter().filter(|f| !f.is_metric() && f.is_segment() == of_segments) {
            key.push('\u{1f}');
            key.push_str(&value_of(source, fact, field).to_string());
        }
        key
    }

    fn row(&self, group: &Group<'_>) -> Value {
        let mut row = json!({});
        let mut put = |path: &[String], value: Value| {
            let mut at = &mut row;
            for step in path {
                at = &mut at[step];
            }
            *at = value;
        };
        if !self.omits_resource_names {
            for resource in [self.from.name].iter().chain(self.from.beside) {
                let is_asked = self.select.iter().any(|f| f.resource() == *resource);
                if is_asked || *resource == self.from.name {
                    put(&[camel(resource), "resourceName".into()], group.source.name_of(resource));
                }
            }
            if self.select.iter().any(|f| f.name.starts_with("ad_group_ad.ad.")) {
                let ad = group.source.part("ad_group_ad").and_then(|part| part.get("ad")?.get("resourceName"));
                put(&["adGroupAd".into(), "ad".into(), "resourceName".into()], ad.cloned().unwrap_or_default());
            }
        }
        for field in &self.select {
            let value = group.cell(field);
            if !value.is_null() {
                put(&field.path, value);
            }
        }
        row
    }
}

struct Group<'a> {
    source: &'a Source<'a>,
    fact: Option<&'a Fields>,
    sums: Sums,
}

impl Group<'_> {
    fn cell(&self, field: &Field) -> Value {
        match field.is_metric() {
            true => self.sums.json(field).unwrap_or(Value::Null),
            false => value_of(self.source, self.fact, field),
        }
    }
}

impl Source<'_> {
    fn part(&self, resource: &str) -> Option<&Fields> {
        self.parts.iter().find(|(name, _)| *name == resource).map(|(_, value)| *value)
    }

    fn name_of(&self, resource: &str) -> Value {
        self.part(resource).and_then(|part| part.get("resourceName")).cloned().unwrap_or_default()
    }
}

/// An attribute or a segment as JSON has it; null when it is not set.
fn value_of(source: &Source<'_>, fact: Option<&Fields>, field: &Field) -> Value {
    let path = &field.path[1..];
    if field.is_segment() {
        let Some(segments) = fact.and_then(|fact| fact.get("segments")?.as_object()) else { return Value::Null };
        if field.kind == Kind::Date || DATED.contains(&field.name) {
            let date = segments.get("date").and_then(Value::as_str).unwrap_or("");
            return dates::part(date, field.name.trim_start_matches("segments.")).unwrap_or_default();
        }
        return walk(segments, path);
    }
    source.part(field.resource()).map_or(Value::Null, |part| walk(part, path))
}

/// Segments that follow from the day, besides those of type date.
const DATED: [&str; 3] = ["segments.year", "segments.month_of_year", "segments.day_of_week"];

fn walk(fields: &Fields, path: &[String]) -> Value {
    let first = path.first().and_then(|step| fields.get(step));
    let mut rest = path.iter().skip(1);
    rest.try_fold(first.unwrap_or(&Value::Null), |at, step| at.get(step)).cloned().unwrap_or_default()
}

fn holds(source: &Source<'_>, fact: Option<&Fields>, field: &Field, condition: &Condition, today: &str) -> bool {
    compare(field, condition, &value_of(source, fact, field), today)
}

fn ordered(field: &Field, a: &Value, b: &Value) -> std::cmp::Ordering {
    match field.kind {
        Kind::Int64 | Kind::Int32 | Kind::Double => super::metrics::number(a).total_cmp(&super::metrics::number(b)),
        _ => shown(a).cmp(&shown(b)),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

fn compare(field: &Field, condition: &Condition, value: &Value, today: &str) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let against = |literal: &Literal| match field.kind {
        Kind::Int64 | Kind::Int32 | Kind::Double => {
            super::metrics::number(value).total_cmp(&literal.text().parse().unwrap_or(0.0))
        }
        Kind::Bool => shown(value).cmp(&literal.text().to_lowercase()),
        _ => shown(value).as_str().cmp(literal.text()),
    };
    let members = || value.as_array().map(|list| list.iter().map(shown).collect::<Vec<_>>()).unwrap_or_default();
    let values = &condition.values;
    let is_set = !value.is_null();
    match condition.operator {
        Operator::IsNull => !is_set,
        Operator::IsNotNull => is_set,
        Operator::NotEqual => !is_set || against(&values[0]) != Equal,
        Operator::NotIn => !is_set || values.iter().all(|v| against(v) != Equal),
        Operator::ContainsAny => values.iter().any(|v| members().iter().any(|m| m == v.text())),
        Operator::ContainsAll => values.iter().all(|v| members().iter().any(|m| m == v.text())),
        Operator::ContainsNone => !values.iter().any(|v| members().iter().any(|m| m == v.text())),
        Operator::NotLike => !is_set || !like(&shown(value), values[0].text()),
        _ if !is_set => false,
        Operator::Equal => against(&values[0]) == Equal,
        Operator::Greater => against(&values[0]) == Greater,
        Operator::GreaterOrEqual => against(&values[0]) != Less,
        Operator::Less => against(&values[0]) == Less,
        Operator::LessOrEqual => against(&values[0]) != Greater,
        Operator::In => values.iter().any(|v| against(v) == Equal),
        Operator::Between => against(&values[0]) != Less && against(&values[1]) != Greater,
        Operator::Like => like(&shown(value), values[0].text()),
        Operator::During => {
            dates::named(values[0].text(), today).is_some_and(|(from, to)| shown(value) >= from && shown(value) <= to)
        }
    }
}

/// `%` stands for anything; letters of either case are the same.
fn like(text: &str, pattern: &str) -> bool {
    fn matches(text: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|skipped| matches(&text[skipped..], rest)),
            Some((c, rest)) => text.first() == Some(c) && matches(&text[1..], rest),
        }
    }
    let folded = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    matches(&folded(text), &folded(pattern))
}

/// The rows of a query as a plain list of maps: for tests and the ledger.
pub fn rows(query: &str, sources: &[Source<'_>], today: &str) -> Result<Vec<Fields>, Refusal> {
    let plan = Plan::new(&super::gaql::parse(query)?)?;
    let rows = plan.run(sources, today).into_iter();
    Ok(rows.filter_map(|row| row.as_object().cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<Vec<Fields>, String> {
        let fields = |value: Value| value.as_object().unwrap().clone();
        let customer = fields(json!({"resourceName": "customers/1", "id": "1"}));
        let campaigns: Vec<Fields> = [("10", "ENABLED"), ("9", "PAUSED"), ("11", "REMOVED")]
            .map(|(id, status)| {
                fields(json!({"resourceName": format!("customers/1/campaigns/{id}"), "id": id,
                              "name": format!("Nr {id}"), "status": status}))
            })
            .to_vec();
        let fact = |day: &str, device: &str, clicks: i64| {
            fields(json!({"segments": {"date": day, "device": device},
                          "metrics": {"clicks": clicks.to_string(), "impressions": (clicks * 10).to_string()}}))
        };
        let facts = [
            fact("2026-01-05", "MOBILE", 1),
            fact("2026-01-05", "DESKTOP", 2),
            fact("2026-01-06", "MOBILE", 4),
            fact("2026-01-07", "MOBILE", 0),
        ];
        let sources: Vec<Source<'_>> = campaigns
            .iter()
            .enumerate()
            .map(|(at, campaign)| Source {
                parts: vec![("customer", &customer), ("campaign", campaign)],
                facts: if at == 0 { facts.iter().collect() } else { Vec::new() },
            })
            .collect();
        rows(query, &sources, "2026-01-08").map_err(|refusal| refusal.code)
    }

    #[test]
    fn figures_are_added_up_by_what_is_selected() {
        let by_day = ask("SELECT campaign.id, segments.date, metrics.clicks FROM campaign WHERE segments.date BETWEEN '2026-01-01' AND '2026-01-31'").unwrap();
        assert_eq!(by_day.len(), 2, "no row for the day of zeros, none for campaigns without figures");
        assert_eq!(by_day[0]["metrics"]["clicks"], json!("3"));
        assert_eq!(by_day[0]["campaign"], json!({"resourceName": "customers/1/campaigns/10", "id": "10"}));
        let whole =
            ask("SELECT campaign.id, metrics.clicks, metrics.ctr FROM campaign WHERE segments.date >= '2026-01-06'")
                .unwrap();
        assert_eq!(whole.len(), 3, "without a segment every campaign has a row");
        assert_eq!(whole[0]["metrics"], json!({"clicks": "4", "ctr": 0.1}));
        assert_eq!(whole[1]["metrics"], json!({"clicks": "0"}));
    }

    #[test]
    fn attributes_are_filtered_by_their_type() {
        let ids = |query: &str| -> Vec<String> {
            ask(query).unwrap().iter().map(|row| row["campaign"]["id"].as_str().unwrap().to_string()).collect()
        };
        assert_eq!(
            ids("SELECT campaign.id FROM campaign WHERE campaign.status != 'REMOVED' ORDER BY campaign.id"),
            ["9", "10"]
        );
        assert_eq!(
            ids("SELECT campaign.id FROM campaign WHERE campaign.id > 9 ORDER BY campaign.id DESC LIMIT 1"),
            ["11"]
        );
        assert_eq!(ids("SELECT campaign.id FROM campaign WHERE campaign.name LIKE 'nr 1%'"), ["10", "11"]);
        assert_eq!(ids("SELECT campaign.id FROM campaign WHERE campaign.status IN (PAUSED, REMOVED)"), ["9", "11"]);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (query, code) in [
            ("SELECT campaign.nonsense FROM campaign", "UNRECOGNIZED_FIELD"),
            ("SELECT campaign.id FROM nonsense", "BAD_RESOURCE_TYPE_IN_FROM_CLAUSE"),
            ("SELECT ad_group.id FROM campaign", "PROHIBITED_RESOURCE_TYPE_IN_SELECT_CLAUSE"),
            ("SELECT ad_group.id, metrics.invalid_clicks FROM ad_group", "PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE"),
            ("SELECT campaign.id, segments.slot FROM campaign", "PROHIBITED_SEGMENT_IN_SELECT_OR_WHERE_CLAUSE"),
            ("SELECT campaign.id, segments.date FROM campaign", "EXPECTED_FILTERS_ON_DATE_RANGE"),
            (
                "SELECT campaign.id, segments.date FROM campaign WHERE segments.date >= '2026-01-01'",
                "EXPECTED_FILTERS_ON_DATE_RANGE",
            ),
            (
                "SELECT campaign.id FROM campaign WHERE segments.device = 'MOBILE'",
                "EXPECTED_REFERENCED_FIELD_IN_SELECT_CLAUSE",
            ),
            ("SELECT campaign.id FROM campaign WHERE segments.date = '2026-1-1'", "INVALID_DATE_FORMAT"),
            (
                "SELECT campaign.id FROM campaign WHERE segments.date BETWEEN '2026-01-02' AND '2026-01-01'",
                "DATE_RANGE_TOO_NARROW",
            ),
            ("SELECT campaign.id FROM campaign WHERE campaign.status = 'GONE'", "BAD_ENUM_CONSTANT"),
            ("SELECT campaign.id FROM campaign WHERE campaign.status > 'ENABLED'", "OPERATOR_FIELD_MISMATCH"),
            (
                "SELECT segments.external_conversion_source, metrics.clicks FROM campaign",
                "PROHIBITED_SEGMENT_WITH_METRIC_IN_SELECT_OR_WHERE_CLAUSE",
            ),
        ] {
            assert_eq!(ask(query).map(|_| ()), Err(code.to_string()), "{query}");
        }
    }
}
