//! Decides what the nodes and edges answer: accounts, objects, insights and report runs.

use serde_json::{json, Value};

use super::errors::Refusal;
use super::{asked, data, fields, filters, nodes, pages, runs, FacebookAds, Params};
use crate::app::Call;

struct Report {
    account: String,
    rows: Vec<Value>,
    dates: (String, String),
}

impl FacebookAds {
    fn permit(&self, call: &Call<'_>, collection: &str, account: &str) -> Result<(), Refusal> {
        let plain = collection.replace('_', "");
        if call.config.denies(&[collection, &plain]) {
            return Err(Refusal::no_permission());
        }
        if !account.is_empty() && call.config.denies(&[account, &format!("act_{account}")]) {
            return Err(Refusal::no_account_permission());
        }
        Ok(())
    }

    /// Fields of accounts that need more rights than the token may have: denied as `ad_accounts.owner`.
    fn wanted(&self, call: &Call<'_>, params: &Params, collection: &str) -> Result<Vec<fields::Wanted>, Refusal> {
        let Some(text) = params.get("fields") else { return Ok(fields::default_of(collection)) };
        let wanted = fields::parse(&text);
        match wanted.iter().any(|field| call.config.denies(&[&format!("{collection}.{}", field.name)])) {
            true => Err(Refusal::no_field_permission()),
            false => Ok(wanted),
        }
    }

    pub(super) fn accounts(&self, call: &Call<'_>, params: &Params) -> Result<Value, Refusal> {
        self.permit(call, "ad_accounts", "")?;
        let look = self.look();
        let all = self.book.listed("ad_accounts");
        let wanted = self.wanted(call, params, "ad_accounts")?;
        let visible: Vec<_> = all.iter().filter(|a| !call.config.denies(&[&a.id, a.text("account_id")])).collect();
        let size = self.page_size(call, params)?;
        let place = |cursor: &Value| visible.iter().position(|a| *cursor == *a.id);
        let (from, to) = pages::range(call.request, visible.len(), size, place)?;
        let data: Result<Vec<Value>, Refusal> = visible[from..to]
            .iter()
            .map(|a| fields::render("ad_accounts", &look.node("ad_accounts", a), &wanted))
            .collect();
        Ok(pages::body(call.request, data?, (from, to), visible.len(), |at| json!(visible[at].id)))
    }

    /// How many a page may have. Too many at once is told as too much data.
    fn page_size(&self, call: &Call<'_>, params: &Params) -> Result<usize, Refusal> {
        let limit = pages::limit(params.get("limit"))?;
        let most = call.config.size("most_per_page");
        if most > 0 && limit > most {
            return Err(Refusal::too_much_data());
        }
        Ok(call.config.page_of(limit, limit))
    }

    pub(super) fn node(&mut self, call: &Call<'_>, params: &Params, id: &str) -> Result<Value, Refusal> {
        if let Some(run) = self.runs.get_mut(id) {
            return run.look(params.get("fields"));
        }
        let look = self.look();
        let (collection, record) = look.any(id).ok_or_else(|| Refusal::no_object("get", id))?;
        self.permit(call, collection, record.text("account_id"))?;
        fields::render(collection, &look.node(collection, &record), &self.wanted(call, params, collection)?)
    }

    pub(super) fn edge(&self, call: &Call<'_>, params: &Params, id: &str, edge: &str) -> Result<Value, Refusal> {
        let look = self.look();
        let (above, parent) = look.any(id).ok_or_else(|| Refusal::no_object("get", id))?;
        let collection = nodes::edge(edge).filter(|collection| match *collection {
            "campaigns" => above == "ad_accounts",
            "ad_sets" => matches!(above, "ad_accounts" | "campaigns"),
            _ => above != "ads",
        });
        let Some(collection) = collection else {
            return Err(Refusal::new(400, 2500, format!("Unknown path components: /{edge}")));
        };
        self.permit(call, collection, parent.text("account_id"))?;
        let wanted = self.wanted(call, params, collection)?;
        let get = |name: &str| params.get(name);
        let filters = filters::parse(&get)?;
        let level = nodes::level(collection);
        let mut kept = Vec::new();
        let all = look.below(collection, above, id);
        for record in &all {
            if filters::keep(&filters, level, &look.slim(collection, record))? {
                kept.push(record);
            }
        }
        let size = self.page_size(call, params)?;
        // A cursor marks an object; one that is no longer in the list still marks its place.
        let place = |cursor: &Value| {
            let number = all.iter().find(|record| *cursor == *record.id)?.number;
            let is_after = params.get("before").is_none_or(|text| text.is_empty());
            let at = kept.iter().position(|record| record.number <= number).unwrap_or(kept.len());
            let is_there = kept.get(at).is_some_and(|record| record.number == number);
            Some(if is_after && !is_there { at.saturating_sub(1) } else { at })
        };
        let (from, to) = pages::range(call.request, kept.len(), size, place)?;
        let shown = kept[from..to].iter();
        let data: Result<Vec<Value>, Refusal> =
            shown.map(|record| fields::render(collection, &look.node(collection, record), &wanted)).collect();
        let mut body = pages::body(call.request, data?, (from, to), kept.len(), |at| json!(kept[at].id));
        if params.get("summary").is_some_and(|text| text != "false") {
            body["summary"] = json!({"total_count": kept.len()});
        }
        Ok(body)
    }

    fn asked(&self, call: &Call<'_>, params: &Params, id: &str) -> Result<Report, Refusal> {
        let look = self.look();
        let (collection, record) = look.any(id).ok_or_else(|| Refusal::no_object(&call.request.method, id))?;
        let account = record.text("account_id").to_string();
        self.permit(call, "insights", &account)?;
        let today = data::today(&look.zone(&account), call.now_ms);
        let asked = asked::read(&|name| params.get(name), nodes::level(collection), &today)?;
        let rows = asked.rows(look, collection, id)?;
        let ends = (asked.ranges.iter().map(|r| r.0).min(), asked.ranges.iter().map(|r| r.1).max());
        let text = |day: Option<chrono::NaiveDate>| day.map(|d| d.to_string()).unwrap_or_default();
        Ok(Report { account, rows, dates: (text(ends.0), text(ends.1)) })
    }

    pub(super) fn insights(&mut self, call: &Call<'_>, params: &Params, id: &str) -> Result<Value, Refusal> {
        let size = self.page_size(call, params)?;
        let page_of = |rows: &[Value]| -> Result<Value, Refusal> {
            let place = |cursor: &Value| cursor.as_u64().map(|at| at as usize);
            let (from, to) = pages::range(call.request, rows.len(), size, place)?;
            Ok(pages::body(call.request, rows[from..to].to_vec(), (from, to), rows.len(), |at| json!(at)))
        };
        if let Some(run) = self.runs.get_mut(id) {
            return page_of(run.rows()?);
        }
        let report = self.asked(call, params, id)?;
        let most = call.config.size("most_rows_at_once");
        if most > 0 && report.rows.len() > most {
            return Err(Refusal::too_much_data());
        }
        page_of(&report.rows)
    }

    /// A report run. One with too many rows fails in the end: a smaller one, by date or object, does not.
    pub(super) fn order(&mut self, call: &Call<'_>, params: &Params, id: &str) -> Result<Value, Refusal> {
        let report = self.asked(call, params, id)?;
        let most = call.config.size("most_rows_of_a_run");
        let outcome = match most > 0 && report.rows.len() > most {
            true => "Job Failed".to_string(),
            false => call.config.text("run_outcome").to_string(),
        };
        let id = self.runs.make(runs::Order {
            account: report.account,
            rows: report.rows,
            steps: call.config.size("run_polls"),
            outcome,
            made_ms: call.now_ms,
            dates: report.dates,
        });
        Ok(json!({"report_run_id": id}))
    }
}
