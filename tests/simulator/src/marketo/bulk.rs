//! Decides what the bulk extract endpoints answer: which jobs are accepted, and what their files hold (docs: /bulk-extract).

use serde_json::{json, Map, Value};

use super::answers::{error, instant, one, page, Asked, Error, Good};
use super::exports::{Order, Pace, State};
use super::{csv, tokens, Marketo};
use crate::config::Config;
use crate::http::{Reply, Request};
use crate::rest::{time, Record};

/// A filter by date spans at most so much.
const LONGEST_MS: i64 = 31 * 86_400_000;

/// What an activity export has when the job does not choose.
const ACTIVITY_FIELDS: [&str; 8] = [
    "marketoGUID",
    "leadId",
    "activityDate",
    "activityTypeId",
    "campaignId",
    "primaryAttributeValueId",
    "primaryAttributeValue",
    "attributes",
];

pub fn pace(config: &Config) -> Pace {
    Pace {
        queue_ms: config.number("export_queue_ms"),
        run_ms: config.number("export_run_ms"),
        refresh_ms: config.number("export_refresh_ms"),
        daily_bytes: config.number("export_daily_bytes").max(0) as u64,
    }
}

/// Both ends of a filter by date.
fn span(filter: &Value, name: &str) -> Result<(i64, i64), Error> {
    let end = |member: &str| match filter[name][member].as_str().map(instant) {
        Some(Some(at)) => Ok(at),
        _ => error("1003", format!("Invalid value for filter '{name}': {member} must be an ISO 8601 datetime")),
    };
    let (start, stop) = (end("startAt")?, end("endAt")?);
    if stop < start {
        return error("1003", format!("Invalid value for filter '{name}': endAt is before startAt"));
    }
    if stop - start > LONGEST_MS {
        return error("1003", format!("Date range for filter '{name}' must be 31 days or fewer"));
    }
    Ok((start, stop))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}

impl Marketo {
    /// `POST /bulk/v1/{what}/export/create.json`.
    pub(super) fn create_export(
        &mut self,
        what: &'static str,
        request: &Request,
        config: &Config,
        now_ms: i64,
    ) -> Good {
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&request.body) else {
            return error("609", "Invalid JSON");
        };
        let get = |name: &str| body.get(name).cloned().unwrap_or(Value::Null);
        let format = get("format").as_str().unwrap_or("CSV").to_string();
        if csv::separator(&format).is_none() {
            return error("1003", format!("Invalid value for format: {format}"));
        }
        let mut fields = texts(&get("fields"));
        let filter = get("filter");
        if !filter.is_object() {
            return error("1003", "Invalid value specified for attribute 'filter'");
        }
        if what == "leads" {
            self.check_lead_order(&fields, &filter, config)?;
        } else {
            self.check_activity_order(&fields, &filter)?;
            if fields.is_empty() {
                fields = ACTIVITY_FIELDS.map(String::from).to_vec();
            }
        }
        let headers = get("columnHeaderNames").as_object().cloned().unwrap_or_default();
        let id = self.new_uuid();
        let order = Order { what, fields, headers, format, filter };
        match self.exports.create(id, order, now_ms, &pace(config)) {
            Ok(job) => one(job.told(State::Created)),
            Err(refusal) => error("1029", refusal),
        }
    }

    fn check_lead_order(&self, fields: &[String], filter: &Value, config: &Config) -> Result<(), Error> {
        if fields.is_empty() {
            return error("1003", "Invalid value specified for attribute 'fields'");
        }
        if let Some(unknown) = fields.iter().find(|name| self.fields.get(name).is_none()) {
            return error("1003", format!("Invalid field name: {unknown}"));
        }
        let names: Vec<&String> = filter.as_object().into_iter().flat_map(Map::keys).collect();
        let [name] = names.as_slice() else {
            return error("1003", "Exactly one filter type must be specified");
        };
        match name.as_str() {
            "createdAt" => span(filter, name).map(|_| ()),
            "updatedAt" if config.flag("updated_at_filter") => span(filter, name).map(|_| ()),
            "staticListId" | "staticListName" => match self.list_of(filter) {
                Some(_) => Ok(()),
                None => error("1013", "Static list not found"),
            },
            _ => error("1035", format!("Unsupported filter type for target subscription: {name}")),
        }
    }

    fn check_activity_order(&self, fields: &[String], filter: &Value) -> Result<(), Error> {
        let is_known = |name: &&String| ACTIVITY_FIELDS.contains(&name.as_str()) || name.as_str() == "actionResult";
        if let Some(unknown) = fields.iter().find(|name| !is_known(name)) {
            return error("1003", format!("Invalid field name: {unknown}"));
        }
        span(filter, "createdAt")?;
        let types = filter["activityTypeIds"].as_array().cloned().unwrap_or_default();
        // Deletions are told by their own endpoint (docs: /bulk-activity-extract, Filters).
        let is_wrong = |id: &Value| *id == 37 || self.book.find("lead_activity_types", &id.to_string()).is_none();
        match types.iter().find(|id| is_wrong(id)) {
            Some(wrong) => error("1003", format!("Invalid activity type id {wrong}")),
            None => Ok(()),
        }
    }

    /// The static list a filter names.
    fn list_of(&self, filter: &Value) -> Option<String> {
        let lists = self.book.listed("lists");
        let found = lists.iter().find(|list| {
            filter["staticListId"] == *list.get("id") || filter["staticListName"].as_str() == Some(list.text("name"))
        });
        found.map(|list| list.id.to_string())
    }

    /// `GET /bulk/v1/{what}/export.json`: the jobs of the past seven days.
    pub(super) fn list_exports(&self, what: &'static str, asked: &Asked<'_>, config: &Config, now_ms: i64) -> Good {
        let wanted = asked.list("status");
        let pace = pace(config);
        // Cancelled has two spellings in the documentation.
        let is_meant = |state: State| {
            let name = state.name();
            wanted.is_empty() || wanted.iter().any(|w| w.replace("Canceled", "Cancelled").eq_ignore_ascii_case(name))
        };
        let jobs = self.exports.listed(what, now_ms).map(|job| (job, job.shown(now_ms, &pace)));
        let told: Vec<Value> = jobs.filter(|(_, state)| is_meant(*state)).map(|(job, state)| job.told(state)).collect();
        let size = config.page_of(asked.batch()?, 300);
        let from = asked.get("nextPageToken").and_then(|t| tokens::parse_list_token(what, t)).unwrap_or(0) as usize;
        let next = (told.len() > from + size).then(|| tokens::list_token(what, (from + size) as u64));
        page(told.into_iter().skip(from).take(size).collect(), next)
    }

    fn find_export(&self, what: &str, id: &str) -> Result<usize, Error> {
        match self.exports.find(what, id) {
            Some(at) => Ok(at),
            None => error("1013", format!("Export job {id} not found")),
        }
    }

    pub(super) fn enqueue_export(&mut self, what: &str, id: &str, config: &Config, now_ms: i64) -> Good {
        let at = self.find_export(what, id)?;
        let failure = Some(config.text("export_failure")).filter(|text| !text.is_empty()).map(str::to_string);
        match self.exports.enqueue(at, now_ms, &pace(config), failure) {
            Ok(()) => one(self.exports.job(at).told(State::Queued)),
            Err(refusal) => error("1029", refusal),
        }
    }

    pub(super) fn cancel_export(&mut self, what: &str, id: &str, config: &Config, now_ms: i64) -> Good {
        let at = self.find_export(what, id)?;
        self.exports.cancel(at, now_ms, &pace(config));
        one(self.exports.job(at).told(self.exports.job(at).state(now_ms)))
    }

    pub(super) fn export_status(&self, what: &str, id: &str, config: &Config, now_ms: i64) -> Good {
        let job = self.exports.job(self.find_export(what, id)?);
        one(job.told(job.shown(now_ms, &pace(config))))
    }

    /// `GET .../file.json`: the file or a part of it. Unlike everywhere else, what is not there is a 404 in plain text.
    pub(super) fn export_file(&self, what: &str, id: &str, request: &Request, now_ms: i64) -> Reply {
        let job = self.exports.find(what, id).map(|at| self.exports.job(at));
        let file = job.filter(|job| job.state(now_ms) == State::Completed).and_then(|job| job.file.as_deref());
        let plain = |status: u16, text: &str| {
            let reply = Reply::empty(status).with("Content-Type", "text/plain;charset=UTF-8");
            Reply { body: text.as_bytes().to_vec(), ..reply }
        };
        let Some(file) = file else { return plain(404, "Export file not found") };
        let whole = Reply::empty(200).with("Content-Type", "text/csv;charset=UTF-8").with("Accept-Ranges", "bytes");
        let Some(range) = request.header("range") else { return Reply { body: file.to_vec(), ..whole } };
        match part(range, file.len()) {
            Some((from, to)) => {
                let said = format!("bytes {from}-{to}/{}", file.len());
                Reply { status: 206, body: file[from..=to].to_vec(), ..whole.with("Content-Range", said) }
            }
            None => plain(416, "Requested range not satisfiable"),
        }
    }

    /// Writes the files of the jobs that have begun by now.
    pub(super) fn write_exports(&mut self, now_ms: i64) {
        for at in self.exports.to_write(now_ms) {
            let order = self.exports.job(at).order.clone();
            let (file, records) = self.export(&order);
            self.exports.write(at, file.into_bytes(), records);
        }
    }

    fn export(&self, order: &Order) -> (String, usize) {
        let separator = csv::separator(&order.format).unwrap_or(',');
        let mut text = String::new();
        let headers: Vec<Value> =
            order.fields.iter().map(|f| order.headers.get(f).cloned().unwrap_or_else(|| json!(f))).collect();
        csv::line(headers.iter(), separator, &mut text);
        let rows = if order.what == "leads" { self.lead_rows(order) } else { self.activity_rows(order) };
        rows.iter().for_each(|row| csv::line(row.iter(), separator, &mut text));
        (text, rows.len())
    }

    fn lead_rows(&self, order: &Order) -> Vec<Vec<Value>> {
        let filter = &order.filter;
        let within = |name: &str, at_ms: i64| span(filter, name).is_ok_and(|(from, to)| (from..=to).contains(&at_ms));
        let members = self.list_of(filter).and_then(|list| self.members.get(&list).cloned());
        let is_meant = |lead: &Record| match &members {
            Some(members) => members.contains(&(lead.number_of("id") as u64)),
            None if filter.get("createdAt").is_some() => within("createdAt", lead.created_ms),
            // Not the updatedAt that is shown: that one knows of standard fields only.
            None if filter.get("updatedAt").is_some() => within("updatedAt", self.last_change_ms(lead)),
            None => false,
        };
        let leads = self.book.listed("leads").into_iter().filter(|lead| is_meant(lead));
        leads.map(|lead| order.fields.iter().map(|name| lead.get(name).clone()).collect()).collect()
    }

    fn activity_rows(&self, order: &Order) -> Vec<Vec<Value>> {
        let Ok((from, to)) = span(&order.filter, "createdAt") else { return Vec::new() };
        let types = order.filter["activityTypeIds"].as_array().filter(|ids| !ids.is_empty());
        let is_meant = |activity: &Record| {
            let type_id = activity.get("activityTypeId");
            !activity.is_deleted() && *type_id != 37 && types.is_none_or(|ids| ids.contains(type_id))
        };
        let activities = self.book.by_change("lead_activities", from, to).into_iter().filter(|a| is_meant(a));
        let cell = |activity: &Record, name: &str| match name {
            "attributes" => json!(attributes(activity)),
            "actionResult" => json!("succeeded"),
            name => activity.get(name).clone(),
        };
        activities.map(|a| order.fields.iter().map(|name| cell(&a, name)).collect()).collect()
    }

    /// When a field of the lead, standard or custom, was last changed.
    pub(super) fn last_change_ms(&self, lead: &Record) -> i64 {
        let own = time::parse(lead.text("updatedAt")).unwrap_or(lead.updated_ms);
        self.custom_changes.get(&*lead.id).copied().unwrap_or(i64::MIN).max(own)
    }
}

/// The attributes as a file has them: one JSON object, not the list the REST API gives.
fn attributes(activity: &Record) -> String {
    let pairs = activity.get("attributes").as_array().into_iter().flatten();
    let object: Map<String, Value> =
        pairs.filter_map(|pair| Some((pair["name"].as_str()?.to_string(), pair["value"].clone()))).collect();
    Value::Object(object).to_string()
}

/// The first and last byte of `bytes=0-99`, `bytes=100-` or `bytes=-100`.
fn part(range: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = length.checked_sub(1)?;
    let (from, to) = match (from.trim(), to.trim()) {
        ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), last),
        (from, "") => (from.parse().ok()?, last),
        (from, to) => (from.parse().ok()?, to.parse::<usize>().ok()?.min(last)),
    };
    (from <= to && from < length).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parts_of_the_file() {
        for (range, want) in [
            ("bytes=0-3", Some((0, 3))),
            ("bytes=5-", Some((5, 9))),
            ("bytes=8-99", Some((8, 9))),
            ("bytes=-4", Some((6, 9))),
            ("bytes=10-", None),
            ("bytes=3-2", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(part(range, 10), want, "{range}");
        }
    }
}
