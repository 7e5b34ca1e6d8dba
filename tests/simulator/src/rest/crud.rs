//! Decides what the data calls of the control API do for apps that keep their records in a book.
//!
//! They are functions over any such app, so that an app that does more on a call can do that and then call these.

use serde_json::{json, Map, Value};

use super::{Book, Record, When};
use crate::app::{bad, missing, Answer, App, Ask, Happened, Refusal};
use crate::chance::Chance;

/// Seeded records are made at most this far apart.
const STEP_S: i64 = 3600;
/// Seeded records all lie within so many seconds before `until`.
const SPAN_S: i64 = 5 * 365 * 86_400;

fn book<A: App + ?Sized>(app: &mut A) -> Result<&mut Book, Refusal> {
    app.book().ok_or_else(|| missing("the app has no such call"))
}

fn book_with<'a, A: App + ?Sized>(app: &'a mut A, collection: &str) -> Result<&'a mut Book, Refusal> {
    let book = book(app)?;
    match book.has(collection) {
        true => Ok(book),
        false => Err(missing(format!("there is no collection {collection}"))),
    }
}

fn when(ask: &Ask<'_>) -> When {
    When { at_ms: ask.now_ms, due_ms: ask.due_ms(), is_silent: ask.flag("silent") }
}

/// Puts members over others: objects are merged, everything else is replaced, `null` included.
pub fn merge(into: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        match (into.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(changes)) => merge(inner, changes),
            _ => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

/// Drafts and adds a record and tells the app of it.
pub fn make<A: App + ?Sized>(
    app: &mut A,
    collection: &str,
    given: &Map<String, Value>,
    when: When,
) -> Result<std::sync::Arc<Record>, Refusal> {
    let number = book_with(app, collection)?.made(collection);
    let fields = app.draft(collection, number, when.at_ms, given).map_err(bad)?;
    let record = book(app)?.add(collection, fields, when).map_err(bad)?;
    app.happened(&Happened { collection, before: None, after: Some(&record), when });
    Ok(record)
}

pub fn create<A: App + ?Sized>(app: &mut A, ask: &Ask<'_>, collection: &str) -> Answer {
    Ok(make(app, collection, &ask.body, when(ask))?.json().to_string())
}

/// Sizes by collection, in the order of the book's kinds (parents first), with `until`, `ties` and `deleted_percent`.
pub fn seed<A: App + ?Sized>(app: &mut A, ask: &mut Ask<'_>) -> Answer {
    let until_ms = ask.take_until_s() * 1000;
    let (ties, deleted_percent) = (ask.take_number("ties"), ask.take_number("deleted_percent"));
    let order: Vec<&str> = book(app)?.kinds().map(|kind| kind.name).collect();
    if let Some(unknown) = ask.body.keys().find(|name| !order.contains(&name.as_str())) {
        return Err(bad(format!("there is no collection {unknown}")));
    }
    let mut made = json!({});
    for collection in order {
        let Some(size) = ask.body.get(collection) else { continue };
        let size = size.as_u64().ok_or_else(|| bad(format!("the size of {collection} must be a whole number")))?;
        let mut chance = Chance::new(ask.seed, collection);
        let step_ms = 1000 * (SPAN_S / size.max(1) as i64).clamp(1, STEP_S);
        for i in 0..size {
            let back = if size - i <= ties { 0 } else { (size - i - 1) as i64 };
            let at = When::now(until_ms - back * step_ms);
            let record = make(app, collection, &Map::new(), at)?;
            // Changed in another order than made: every third has a later change of its own.
            let later = When::now(at.at_ms + 1000 * chance.between(0, back * step_ms / 1000));
            if chance.percent(deleted_percent) {
                mark(app, collection, &record.id, true, later)?;
            } else if i % 3 == 2 && later.at_ms > at.at_ms {
                let after = book(app)?.edit(collection, &record.id, later, |_| {}).map_err(bad)?;
                app.happened(&Happened { collection, before: Some(&record), after: Some(&after), when: later });
            }
        }
        made[collection] = json!(size);
    }
    Ok(made.to_string())
}

pub fn change<A: App + ?Sized>(app: &mut A, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
    let before = known(app, collection, id)?;
    let when = when(ask);
    let after = book(app)?.edit(collection, id, when, |record| merge(&mut record.fields, &ask.body)).map_err(bad)?;
    app.happened(&Happened { collection, before: Some(&before), after: Some(&after), when });
    Ok(after.json().to_string())
}

fn known<A: App + ?Sized>(app: &mut A, collection: &str, id: &str) -> Result<std::sync::Arc<Record>, Refusal> {
    let found = book_with(app, collection)?.latest(collection, id);
    found.ok_or_else(|| bad(format!("{collection} has no {id}")))
}

/// Deletes softly or takes that back, with the app's own mark in the record.
pub fn mark<A: App + ?Sized>(
    app: &mut A,
    collection: &str,
    id: &str,
    is_deleted: bool,
    when: When,
) -> Result<std::sync::Arc<Record>, Refusal> {
    let before = known(app, collection, id)?;
    let mut fields = before.fields.clone();
    app.mark(collection, &mut fields, is_deleted, when.at_ms);
    let edited = book(app)?.edit(collection, id, when, |record| {
        record.fields = fields;
        record.deleted_ms = is_deleted.then_some(when.at_ms);
    });
    let after = edited.map_err(bad)?;
    app.happened(&Happened { collection, before: Some(&before), after: Some(&after), when });
    Ok(after)
}

pub fn delete<A: App + ?Sized>(app: &mut A, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
    let when = when(ask);
    if !ask.flag("hard") {
        return Ok(mark(app, collection, id, true, when)?.json().to_string());
    }
    known(app, collection, id)?;
    let before = book(app)?.remove(collection, id, when).map_err(bad)?;
    app.happened(&Happened { collection, before: Some(&before), after: None, when });
    Ok(before.json().to_string())
}

pub fn undelete<A: App + ?Sized>(app: &mut A, ask: &Ask<'_>, collection: &str, id: &str) -> Answer {
    Ok(mark(app, collection, id, false, when(ask))?.json().to_string())
}

pub fn ledger<A: App + ?Sized>(app: &mut A, ask: &Ask<'_>, collection: &str) -> Answer {
    let with_records = ask.request.param("records").is_none_or(|v| v != "false");
    let text = book(app)?.ledger(collection, with_records, ask.flag("gone"));
    text.ok_or_else(|| missing(format!("there is no collection {collection}")))
}

pub fn count<A: App + ?Sized>(app: &mut A, collection: &str) -> Answer {
    let counts = book(app)?.count(collection);
    counts.map(|c| c.to_string()).ok_or_else(|| missing(format!("there is no collection {collection}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Call;
    use crate::config::Config;
    use crate::http::{Reply, Request};
    use crate::rest::time::Form;
    use crate::rest::{Kind, Stamp};

    /// Boxes with things in them; counts what it is told.
    struct Sample {
        book: Book,
        told: Vec<(bool, bool)>,
    }

    impl App for Sample {
        fn answer(&mut self, _call: &Call<'_>) -> Reply {
            Reply::empty(204)
        }
        fn book(&mut self) -> Option<&mut Book> {
            Some(&mut self.book)
        }
        fn draft(
            &mut self,
            of: &str,
            number: u64,
            _: i64,
            given: &Map<String, Value>,
        ) -> Result<Map<String, Value>, String> {
            let mut fields = Map::from_iter([("id".into(), json!(number)), ("deleted".into(), json!(false))]);
            if of == "things" {
                let boxes = self.book.all_latest("boxes");
                fields.insert("box".into(), boxes.first().ok_or("there is no box")?.get("id").clone());
            }
            merge(&mut fields, given);
            Ok(fields)
        }
        fn mark(&mut self, _: &str, fields: &mut Map<String, Value>, is_deleted: bool, _: i64) {
            fields.insert("deleted".into(), json!(is_deleted));
        }
        fn happened(&mut self, change: &Happened<'_>) {
            self.told.push((change.before.is_some(), change.after.is_some()));
        }
    }

    fn sample() -> Sample {
        let kind = |name, parent| Kind {
            name,
            key: &["id"],
            created: None,
            updated: Some(Stamp("updated_at", Form::Iso)),
            parent,
        };
        Sample { book: Book::new(&[kind("boxes", None), kind("things", Some("box"))]), told: Vec::new() }
    }

    fn ask<'a>(request: &'a Request, config: &'a Config, body: Value) -> Ask<'a> {
        let body = body.as_object().cloned().unwrap_or_default();
        Ask { request, config, body, lent: Vec::new(), seed: 1, now_ms: 7_000 }
    }

    fn read(answer: Answer) -> Value {
        serde_json::from_str(&answer.unwrap()).unwrap()
    }

    #[test]
    fn the_data_calls_change_records_and_tell_the_app() {
        let (config, plain) = (Config::default(), Request::default());
        let hard = Request { query: "hard=true".into(), ..Request::default() };
        let mut app = sample();
        assert!(app.create(&ask(&plain, &config, json!({})), "things").is_err(), "its parent is missing");
        let made = read(app.create(&ask(&plain, &config, json!({"a": {"x": 1, "y": 2}})), "boxes"));
        assert_eq!(
            made,
            json!({"id": 0, "deleted": false, "a": {"x": 1, "y": 2}, "updated_at": "1970-01-01T00:00:07Z"})
        );
        let changed = read(app.change(&ask(&plain, &config, json!({"a": {"y": null}})), "boxes", "0"));
        assert_eq!(changed["a"], json!({"x": 1, "y": null}));
        assert_eq!(read(app.delete(&ask(&plain, &config, json!({})), "boxes", "0"))["deleted"], true);
        assert_eq!(read(app.count(&ask(&plain, &config, json!({})), "boxes"))["deleted"], 1);
        assert_eq!(read(app.undelete(&ask(&plain, &config, json!({})), "boxes", "0"))["deleted"], false);
        read(app.delete(&ask(&hard, &config, json!({})), "boxes", "0"));
        assert_eq!(read(app.ledger(&ask(&plain, &config, json!({})), "boxes")), json!([]));
        assert_eq!(app.told, [(false, true), (true, true), (true, true), (true, true), (true, false)]);
        assert!(app.change(&ask(&plain, &config, json!({})), "boxes", "0").is_err());
        assert_eq!(app.count(&ask(&plain, &config, json!({})), "lids").unwrap_err().0, 404);
    }

    #[test]
    fn a_seed_fills_parents_first_and_ends_at_until() {
        let (config, plain) = (Config::default(), Request::default());
        let mut app = sample();
        let body = json!({"things": 40, "boxes": 1, "ties": 3, "deleted_percent": 20, "until": 1_000_000});
        assert_eq!(read(app.seed(&mut ask(&plain, &config, body))), json!({"boxes": 1, "things": 40}));
        let things = app.book.by_change("things", 0, i64::MAX);
        assert_eq!(things.len(), 40);
        assert!(things.iter().all(|r| r.updated_ms <= 1_000_000_000 && r.updated_ms >= r.created_ms));
        assert!(things.iter().filter(|r| r.updated_ms == 1_000_000_000).count() >= 3);
        let deleted = things.iter().filter(|r| r.is_deleted()).count();
        assert!((1..20).contains(&deleted), "{deleted}");
        assert_eq!(app.book.children("things", "0").len(), 40);
        assert!(app.seed(&mut ask(&plain, &config, json!({"lids": 1}))).is_err());
    }
}
