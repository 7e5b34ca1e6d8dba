//! Decides the figures of a row: what is counted is added up, what is a ratio follows from the sums.
//!
//! A ratio without a denominator is not sent at all, a count of zero is.

use std::sync::Arc;

use serde_json::{json, Map, Value};

use super::fields::{camel, Field, Kind};

/// Counts that only ratios are made of; the API itself does not tell them.
pub const HIDDEN: [&str; 8] = [
    "video_quartile_p25",
    "video_quartile_p50",
    "video_quartile_p75",
    "video_quartile_p100",
    "bounces",
    "seconds_on_site",
    "page_views",
    "eligible_impressions",
];

/// Numerator, denominator and factor of a ratio; `None` for what is counted.
fn ratio(metric: &str) -> Option<(&'static str, &'static str, f64)> {
    Some(match metric {
        "ctr" => ("clicks", "impressions", 1.0),
        "average_cpc" => ("cost_micros", "clicks", 1.0),
        "average_cpm" => ("cost_micros", "impressions", 1000.0),
        "average_cpe" => ("cost_micros", "engagements", 1.0),
        "average_cost" => ("cost_micros", "interactions", 1.0),
        "trueview_average_cpv" => ("cost_micros", "video_trueview_views", 1.0),
        "interaction_rate" => ("interactions", "impressions", 1.0),
        "engagement_rate" => ("engagements", "impressions", 1.0),
        "conversions_from_interactions_rate" => ("conversions", "interactions", 1.0),
        "all_conversions_from_interactions_rate" => ("all_conversions", "interactions", 1.0),
        "cost_per_conversion" => ("cost_micros", "conversions", 1.0),
        "cost_per_all_conversions" => ("cost_micros", "all_conversions", 1.0),
        "value_per_conversion" => ("conversions_value", "conversions", 1.0),
        "value_per_all_conversions" => ("all_conversions_value", "all_conversions", 1.0),
        "active_view_viewability" => ("active_view_impressions", "active_view_measurable_impressions", 1.0),
        "active_view_measurability" => ("active_view_measurable_impressions", "impressions", 1.0),
        "active_view_ctr" => ("clicks", "active_view_impressions", 1.0),
        "active_view_cpm" => ("cost_micros", "active_view_impressions", 1000.0),
        "video_trueview_view_rate" => ("video_trueview_views", "impressions", 1.0),
        "video_quartile_p25_rate" => ("video_quartile_p25", "impressions", 1.0),
        "video_quartile_p50_rate" => ("video_quartile_p50", "impressions", 1.0),
        "video_quartile_p75_rate" => ("video_quartile_p75", "impressions", 1.0),
        "video_quartile_p100_rate" => ("video_quartile_p100", "impressions", 1.0),
        "bounce_rate" => ("bounces", "clicks", 1.0),
        "average_time_on_site" => ("seconds_on_site", "clicks", 1.0),
        "average_page_views" => ("page_views", "clicks", 1.0),
        "search_impression_share" => ("impressions", "eligible_impressions", 1.0),
        _ => return None,
    })
}

/// Whether a record may hold it: what is counted, by the name without `metrics.`.
pub fn is_counted(metric: &str) -> bool {
    HIDDEN.contains(&metric) || (ratio(metric).is_none() && metric != "interaction_event_types")
}

/// A number that may be written as text.
pub fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap_or(0.0),
        value => value.as_f64().unwrap_or(0.0),
    }
}

/// The sums that some metrics need, over the facts of a row.
#[derive(Debug, Clone)]
pub struct Sums {
    /// Counted name and the name in JSON, the same for all rows of a query.
    names: Arc<[(String, String)]>,
    sums: Vec<f64>,
}

impl Sums {
    pub fn of<'f>(metrics: impl Iterator<Item = &'f Field>) -> Sums {
        let mut names: Vec<String> = Vec::new();
        for field in metrics {
            let metric = field.name.trim_start_matches("metrics.");
            match ratio(metric) {
                Some((above, below, _)) => names.extend([above.to_string(), below.to_string()]),
                None if metric == "interaction_event_types" => names.push("interactions".into()),
                None => names.push(metric.to_string()),
            }
        }
        names.sort_unstable();
        names.dedup();
        let names: Arc<[(String, String)]> = names.into_iter().map(|name| (name.clone(), camel(&name))).collect();
        Sums { sums: vec![0.0; names.len()], names }
    }

    pub fn add(&mut self, fact: &Map<String, Value>) {
        let Some(metrics) = fact.get("metrics") else { return };
        for ((_, in_json), sum) in self.names.iter().zip(&mut self.sums) {
            if let Some(value) = metrics.get(in_json) {
                *sum += number(value);
            }
        }
    }

    fn sum(&self, name: &str) -> f64 {
        let at = self.names.binary_search_by(|(own, _)| own.as_str().cmp(name));
        at.ok().and_then(|at| self.sums.get(at)).copied().unwrap_or(0.0)
    }

    pub fn value(&self, field: &Field) -> Option<f64> {
        let metric = field.name.trim_start_matches("metrics.");
        match ratio(metric) {
            Some((_, below, _)) if self.sum(below) == 0.0 => None,
            Some((above, below, factor)) => Some(self.sum(above) / self.sum(below) * factor),
            None if metric == "interaction_event_types" => Some(self.sum("interactions")),
            None => Some(self.sum(metric)),
        }
    }

    /// As JSON: `int64` is text.
    pub fn json(&self, field: &Field) -> Option<Value> {
        let value = self.value(field)?;
        match field.kind {
            Kind::List if value > 0.0 => Some(json!(["CLICK"])),
            Kind::List => None,
            Kind::Int64 => Some(json!(format!("{value:.0}"))),
            _ => Some(json!(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::find;
    use super::*;

    #[test]
    fn ratios_follow_from_the_sums() {
        let fields: Vec<&Field> =
            ["metrics.clicks", "metrics.ctr", "metrics.average_cpe"].into_iter().filter_map(find).collect();
        let mut sums = Sums::of(fields.iter().copied());
        for metrics in [
            json!({"clicks": "1", "impressions": "10", "costMicros": "5000000"}),
            json!({"clicks": "2", "impressions": 20}),
        ] {
            sums.add(json!({"metrics": metrics}).as_object().unwrap());
        }
        let sent: Vec<Option<Value>> = fields.iter().map(|f| sums.json(f)).collect();
        assert_eq!(sent, [Some(json!("3")), Some(json!(0.1)), None], "no engagement: no cost of one");
    }
}
