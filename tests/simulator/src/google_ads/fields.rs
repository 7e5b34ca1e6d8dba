//! Decides which fields there are, their types, and which can be asked together.
//!
//! From the API's own protos (v23) and developers.google.com/google-ads/api/fields: campaigns have `start_date_time`
//! since v23, no `start_date`.

use std::collections::HashMap;
use std::sync::OnceLock;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A string in JSON.
    Int64,
    Int32,
    Double,
    Bool,
    String,
    Enum,
    Date,
    List,
    Objects,
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// The steps to it in JSON: `adGroupAd`, `ad`, `id`.
    pub path: Vec<String>,
    pub kind: Kind,
    /// The constants of an enum, where they are known here.
    pub constants: Vec<&'static str>,
}

impl Field {
    /// `campaign` of `campaign.id`.
    pub fn resource(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }

    pub fn is_metric(&self) -> bool {
        self.name.starts_with("metrics.")
    }

    pub fn is_segment(&self) -> bool {
        self.name.starts_with("segments.")
    }

    /// Whether it is one of the date segments that can be filtered by without being selected.
    pub fn is_core_date(&self) -> bool {
        matches!(self.name, "segments.date" | "segments.week" | "segments.month" | "segments.quarter" | "segments.year")
    }
}

pub fn all() -> &'static [Field] {
    static FIELDS: OnceLock<Vec<Field>> = OnceLock::new();
    FIELDS.get_or_init(|| {
        let lines = include_str!("fields.txt").lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let mut words = line.split(' ');
                let name = words.next()?;
                let kind = match words.next()? {
                    "int64" => Kind::Int64,
                    "int32" => Kind::Int32,
                    "double" => Kind::Double,
                    "bool" => Kind::Bool,
                    "enum" => Kind::Enum,
                    "date" => Kind::Date,
                    "list" => Kind::List,
                    "objects" => Kind::Objects,
                    _ => Kind::String,
                };
                Some(Field { name, path: name.split('.').map(camel).collect(), kind, constants: words.collect() })
            })
            .collect()
    })
}

pub fn find(name: &str) -> Option<&'static Field> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static Field>> = OnceLock::new();
    BY_NAME.get_or_init(|| all().iter().map(|field| (field.name, field)).collect()).get(name).copied()
}

/// A resource of the FROM clause.
#[derive(Debug)]
pub struct Resource {
    pub name: &'static str,
    /// The resources whose fields can be selected too; their `resource_name` comes along when one is.
    pub beside: &'static [&'static str],
    pub has_metrics: bool,
}

pub const RESOURCES: &[Resource] = &[
    Resource { name: "customer", beside: &[], has_metrics: true },
    Resource { name: "customer_client", beside: &["customer"], has_metrics: false },
    Resource { name: "campaign", beside: &["customer", "campaign_budget"], has_metrics: true },
    Resource { name: "campaign_budget", beside: &["customer"], has_metrics: false },
    Resource { name: "ad_group", beside: &["customer", "campaign"], has_metrics: true },
    Resource { name: "ad_group_ad", beside: &["customer", "campaign", "ad_group"], has_metrics: true },
    Resource { name: "ad_group_criterion", beside: &["customer", "campaign", "ad_group"], has_metrics: false },
    Resource {
        name: "keyword_view",
        beside: &["customer", "campaign", "ad_group", "ad_group_criterion"],
        has_metrics: true,
    },
    // The ad is a segment of a search term: a term that several ads answered has a row for each when it is asked for.
    Resource {
        name: "search_term_view",
        beside: &["customer", "campaign", "ad_group", "ad_group_ad"],
        has_metrics: true,
    },
    Resource { name: "click_view", beside: &["customer", "campaign", "ad_group"], has_metrics: true },
];

pub fn resource(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.name == name)
}

/// Whether a segment or metric can be asked of a resource.
pub fn fits(field: &Field, from: &Resource) -> bool {
    if !from.has_metrics {
        return false;
    }
    match field.name {
        "segments.click_type" => from.name != "customer",
        "segments.slot" => from.name == "click_view",
        "segments.search_term_match_type" => from.name == "search_term_view",
        name if name.starts_with("segments.keyword.") => from.name == "search_term_view",
        "metrics.clicks" => true,
        "metrics.invalid_clicks" => matches!(from.name, "customer" | "campaign"),
        "metrics.search_impression_share" => matches!(from.name, "customer" | "campaign" | "ad_group" | "keyword_view"),
        name if name.starts_with("metrics.") => from.name != "click_view",
        _ => true,
    }
}

/// Metrics that can be told by the conversion they came from; nothing else can be asked with such a segment.
pub fn is_of_conversions(metric: &str) -> bool {
    matches!(
        metric,
        "metrics.conversions"
            | "metrics.conversions_value"
            | "metrics.all_conversions"
            | "metrics.all_conversions_value"
            | "metrics.cross_device_conversions"
            | "metrics.value_per_conversion"
            | "metrics.value_per_all_conversions"
    )
}

/// `ad_group_ad` as JSON writes it: `adGroupAd`.
pub fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        match c {
            '_' => raise = true,
            c if raise => {
                out.push(c.to_ascii_uppercase());
                raise = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_belongs_to_a_known_resource_and_is_listed_once() {
        let mut names: Vec<&str> = all().iter().map(|field| field.name).collect();
        for field in all() {
            let known = field.is_metric() || field.is_segment() || resource(field.resource()).is_some();
            assert!(known, "{}", field.name);
        }
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        assert!(before > 150);
        for resource in RESOURCES {
            assert!(find(&format!("{}.resource_name", resource.name)).is_some(), "{}", resource.name);
        }
        assert!(find("campaign.start_date").is_none(), "replaced by start_date_time");
        assert_eq!(camel("video_quartile_p25_rate"), "videoQuartileP25Rate");
        assert_eq!(camel("ad_group_ad"), "adGroupAd");
    }
}
