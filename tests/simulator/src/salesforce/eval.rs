//! Decides which records a query finds and in which order.
//!
//! A filter is bound to an object first: names become places, literals are checked against the field's type with the real
//! API's messages. Narrow filters on the stamp or on Id walk an index instead of all records.

use std::cmp::Ordering;

use super::record::Record;
use super::schema::{long_id, Field, Object};
use super::soql::{plain, Filter, Literal, Op, Query};
use crate::clock;
use crate::store::Row;

/// An API error: its code and message.
pub type Refusal = (&'static str, String);

#[derive(Debug)]
enum Kind {
    Text,
    Id,
    Number,
    Bool,
    Instant,
    Date,
}

/// A literal made ready for comparison.
#[derive(Debug)]
enum Want {
    Null,
    Text(String),
    Number(f64),
    Bool(bool),
}

#[derive(Debug)]
enum Bound {
    And(Vec<Bound>),
    Or(Vec<Bound>),
    Not(Box<Bound>),
    Compare { at: usize, kind: Kind, op: Op, want: Want },
    In { at: usize, kind: Kind, negated: bool, set: Vec<Want> },
}

fn kind_of(field: &Field) -> Kind {
    match field.kind.as_str() {
        "id" | "reference" => Kind::Id,
        "int" | "long" | "double" | "currency" | "percent" => Kind::Number,
        "boolean" => Kind::Bool,
        "datetime" => Kind::Instant,
        "date" => Kind::Date,
        _ => Kind::Text,
    }
}

pub fn no_such_column(object: &Object, name: &str) -> Refusal {
    let message = format!(
        "\n{name}\n^\nERROR at Row:1:Column:1\nNo such column '{name}' on entity '{}'. If you are attempting to use a custom field, be sure to append the '__c' \
         after the custom field name. Please reference your WSDL or the describe call for the appropriate names.",
        object.name
    );
    ("INVALID_FIELD", message)
}

fn place(object: &Object, name: &str, clause: &str) -> Result<usize, Refusal> {
    let at = object.visible(name).ok_or_else(|| no_such_column(object, name))?;
    let field = &object.fields[at];
    if field.is_compound() || (clause == "filtered" && !field.filterable) {
        return Err(("INVALID_FIELD", format!("field '{}' can not be filtered in a query call", field.name)));
    }
    if clause == "sorted" && !field.filterable {
        return Err(("MALFORMED_QUERY", format!("field '{}' can not be sorted in a query call", field.name)));
    }
    Ok(at)
}

fn want(field: &Field, kind: &Kind, literal: &Literal, op: Op) -> Result<Want, Refusal> {
    let wrong = |should: &str| {
        let message = format!("value of filter criterion for field '{}' must be of type {should}", field.name);
        Err(("INVALID_FIELD", message))
    };
    Ok(match (kind, literal) {
        (_, Literal::Null) => Want::Null,
        (Kind::Text, Literal::Text(text)) if op == Op::Like => Want::Text(text.to_lowercase()),
        (Kind::Text, Literal::Text(text)) => Want::Text(plain(text).to_lowercase()),
        (Kind::Id, Literal::Text(text)) => match plain(text) {
            short if short.len() == 15 => Want::Text(long_id(&short)),
            long => Want::Text(long),
        },
        (Kind::Number, Literal::Number(number)) => Want::Number(*number),
        (Kind::Bool, Literal::Bool(value)) => Want::Bool(*value),
        (Kind::Instant, Literal::Instant(ms) | Literal::Date(ms)) => Want::Number(*ms as f64),
        (Kind::Date, Literal::Date(ms)) => Want::Number(*ms as f64),
        (Kind::Instant, _) => return wrong("dateTime and should not be enclosed in quotes"),
        (Kind::Date, _) => return wrong("date and should not be enclosed in quotes"),
        (Kind::Number, _) => {
            return wrong(if field.kind == "int" {
                "int and should not be enclosed in quotes"
            } else {
                "double and should not be enclosed in quotes"
            })
        }
        (Kind::Bool, _) => return wrong("boolean and should not be enclosed in quotes"),
        _ => return wrong("string and should be enclosed in quotes"),
    })
}

fn bind(object: &Object, filter: &Filter) -> Result<Bound, Refusal> {
    Ok(match filter {
        Filter::And(all) => Bound::And(all.iter().map(|f| bind(object, f)).collect::<Result<_, _>>()?),
        Filter::Or(all) => Bound::Or(all.iter().map(|f| bind(object, f)).collect::<Result<_, _>>()?),
        Filter::Not(one) => Bound::Not(Box::new(bind(object, one)?)),
        Filter::Compare { field, op, to } => {
            let at = place(object, field, "filtered")?;
            let kind = kind_of(&object.fields[at]);
            let want = want(&object.fields[at], &kind, to, *op)?;
            Bound::Compare { at, kind, op: *op, want }
        }
        Filter::In { field, negated, set } => {
            let at = place(object, field, "filtered")?;
            let kind = kind_of(&object.fields[at]);
            let set = set.iter().map(|l| want(&object.fields[at], &kind, l, Op::Eq)).collect::<Result<_, _>>()?;
            Bound::In { at, kind, negated: *negated, set }
        }
    })
}

/// The text of a JSON string value.
fn text_of(json: &str) -> Option<String> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json).ok();
    }
    Some(inner.to_string())
}

fn compare(json: &str, kind: &Kind, want: &Want) -> Option<Ordering> {
    match (kind, want) {
        (_, Want::Null) => (json == "null").then_some(Ordering::Equal),
        (Kind::Bool, Want::Bool(value)) => Some((json == "true").cmp(value)),
        (Kind::Id, Want::Text(text)) => Some(json.trim_matches('"').cmp(text.as_str())).filter(|_| json != "null"),
        (Kind::Text, Want::Text(text)) => Some(text_of(json)?.to_lowercase().as_str().cmp(text.as_str())),
        (Kind::Number, Want::Number(number)) => json.parse::<f64>().ok()?.partial_cmp(number),
        (Kind::Instant, Want::Number(ms)) => (instant_of(json)? as f64).partial_cmp(ms),
        (Kind::Date, Want::Number(ms)) => (clock::parse_date(json.trim_matches('"'))? as f64).partial_cmp(ms),
        _ => None,
    }
}

fn instant_of(json: &str) -> Option<i64> {
    clock::parse_instant(json.trim_matches('"'))
}

fn holds(bound: &Bound, record: &Record) -> bool {
    match bound {
        Bound::And(all) => all.iter().all(|b| holds(b, record)),
        Bound::Or(all) => all.iter().any(|b| holds(b, record)),
        Bound::Not(one) => !holds(one, record),
        Bound::Compare { at, op: Op::Like, want, .. } => {
            let Want::Text(pattern) = want else { return false };
            text_of(record.value(*at)).is_some_and(|text| is_like(&text.to_lowercase(), pattern))
        }
        Bound::Compare { at, kind, op, want } => {
            let found = compare(record.value(*at), kind, want);
            match op {
                Op::Eq => found == Some(Ordering::Equal),
                Op::Ne => found != Some(Ordering::Equal),
                Op::Lt => found == Some(Ordering::Less),
                Op::Le => matches!(found, Some(Ordering::Less | Ordering::Equal)),
                Op::Gt => found == Some(Ordering::Greater),
                Op::Ge => matches!(found, Some(Ordering::Greater | Ordering::Equal)),
                Op::Like => false,
            }
        }
        Bound::In { at, kind, negated, set } => {
            let is_in = set.iter().any(|want| compare(record.value(*at), kind, want) == Some(Ordering::Equal));
            is_in != *negated
        }
    }
}

/// SQL's LIKE: `%` any text, `_` one character, a backslash takes their meaning away.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = rest.as_str();
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| is_like(&text[at..], rest))
        }
        Some(c) => {
            let (any, c) = if c == '\\' { (false, rest.next().unwrap_or('\\')) } else { (c == '_', c) };
            let mut chars = text.chars();
            chars.next().is_some_and(|first| (any || first == c) && is_like(chars.as_str(), rest.as_str()))
        }
    }
}

/// The narrowest range an AND of conditions leaves for the stamp (ms) and for Id.
#[derive(Default)]
struct Range {
    stamp: Option<(i64, i64)>,
    after_id: Option<String>,
    ids: Option<Vec<String>>,
}

fn narrow(bound: &Bound, stamp_at: usize, id_at: usize, range: &mut Range) {
    match bound {
        Bound::And(all) => all.iter().for_each(|b| narrow(b, stamp_at, id_at, range)),
        Bound::Compare { at, op, want: Want::Number(ms), .. } if *at == stamp_at => {
            let (from, to) = range.stamp.get_or_insert((i64::MIN, i64::MAX));
            match op {
                Op::Ge | Op::Gt => *from = (*from).max(*ms as i64),
                Op::Le | Op::Lt => *to = (*to).min(*ms as i64),
                Op::Eq => (*from, *to) = (*ms as i64, *ms as i64),
                _ => {}
            }
        }
        Bound::Compare { at, op: Op::Gt, want: Want::Text(id), .. } if *at == id_at => {
            range.after_id = Some(id.clone())
        }
        Bound::Compare { at, op: Op::Eq, want: Want::Text(id), .. } if *at == id_at => {
            range.ids = Some(vec![id.clone()])
        }
        Bound::In { at, negated: false, set, .. } if *at == id_at => {
            range.ids =
                Some(set.iter().filter_map(|w| if let Want::Text(id) = w { Some(id.clone()) } else { None }).collect());
        }
        _ => {}
    }
}

/// The slots of the records a query finds, in its order. `with_deleted` is queryAll.
pub fn run(object: &Object, query: &Query, with_deleted: bool) -> Result<Vec<u32>, Refusal> {
    let bound = query.filter.as_ref().map(|f| bind(object, f)).transpose()?;
    let order: Vec<(usize, bool, bool)> = query
        .order
        .iter()
        .map(|o| place(object, &o.field, "sorted").map(|at| (at, o.descending, o.nulls_last)))
        .collect::<Result<_, _>>()?;
    let id_at = object.place("Id").unwrap_or(0);
    let stamp_at = object.place(object.stamp_field()).unwrap_or(id_at);
    let mut range = Range::default();
    if let Some(bound) = &bound {
        narrow(bound, stamp_at, id_at, &mut range);
    }
    let table = &object.table;
    let is_found = |slot: &u32| {
        table.at(*slot).is_some_and(|record| {
            (with_deleted || !record.is_deleted) && bound.as_ref().is_none_or(|b| holds(b, record))
        })
    };
    let by_id = order.is_empty() || (order.len() == 1 && order[0].0 == id_at && !order[0].1);
    let by_stamp = order.len() == 1 && order[0].0 == stamp_at && !order[0].1;
    let enough = query.limit.map_or(usize::MAX, |limit| limit + query.offset);
    let mut found: Vec<u32> = if let Some(ids) = &range.ids {
        let mut slots: Vec<u32> = ids.iter().filter_map(|id| table.slot(id)).filter(is_found).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    } else if let (Some((from, to)), false) = (range.stamp, by_id && range.after_id.is_some()) {
        table.slots_between(from, to).filter(is_found).take(if by_stamp { enough } else { usize::MAX }).collect()
    } else if by_stamp {
        table.slots_between(i64::MIN, i64::MAX).filter(is_found).take(enough).collect()
    } else {
        let slots = table.slots_by_id(range.after_id.as_deref());
        slots.filter(is_found).take(if by_id { enough } else { usize::MAX }).collect()
    };
    sort(object, &mut found, &order, id_at);
    let end = found.len().min(enough);
    Ok(found.get(query.offset..end).map(<[u32]>::to_vec).unwrap_or_default())
}

/// A value as it sorts; nulls apart from their place.
#[derive(PartialEq, PartialOrd)]
enum Key {
    Number(f64),
    Text(String),
}

fn sort(object: &Object, slots: &mut Vec<u32>, order: &[(usize, bool, bool)], id_at: usize) {
    let key = |record: &Record, at: usize| -> Option<Key> {
        let json = record.value(at);
        if json == "null" {
            return None;
        }
        match kind_of(&object.fields[at]) {
            Kind::Number => json.parse().ok().map(Key::Number),
            Kind::Instant => instant_of(json).map(|ms| Key::Number(ms as f64)),
            Kind::Bool => Some(Key::Number(f64::from(u8::from(json == "true")))),
            Kind::Id | Kind::Date => Some(Key::Text(json.to_string())),
            Kind::Text => text_of(json).map(|t| Key::Text(t.to_lowercase())),
        }
    };
    let mut keyed: Vec<(Vec<Option<Key>>, &str, u32)> = slots
        .iter()
        .filter_map(|slot| {
            let record = object.table.at(*slot)?;
            let keys = order
                .iter()
                .filter(|(at, ..)| *at != id_at || order.len() > 1)
                .map(|(at, ..)| key(record, *at))
                .collect();
            Some((keys, record.id(), *slot))
        })
        .collect();
    let id_descends = order.first().is_some_and(|(at, descending, _)| *at == id_at && *descending);
    keyed.sort_by(|(a, a_id, _), (b, b_id, _)| {
        for ((a, b), (_, descending, nulls_last)) in a.iter().zip(b).zip(order) {
            let ordering = match (a, b) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) if *nulls_last => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) if *nulls_last => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(a), Some(b)) => {
                    let ordering = a.partial_cmp(b).unwrap_or(Ordering::Equal);
                    if *descending {
                        ordering.reverse()
                    } else {
                        ordering
                    }
                }
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        if id_descends {
            b_id.cmp(a_id)
        } else {
            a_id.cmp(b_id)
        }
    });
    *slots = keyed.into_iter().map(|(.., slot)| slot).collect();
}

#[cfg(test)]
mod tests {
    use super::super::schema::standard_objects;
    use super::super::soql::parse;
    use super::*;
    use serde_json::{json, Value};

    fn accounts() -> Object {
        let mut object = standard_objects().into_iter().find(|o| o.name == "Account").unwrap();
        for (n, name, revenue, deleted) in [
            (1, json!("Zenith 100%"), json!(100), false),
            (2, json!("alder"), Value::Null, false),
            (3, json!("Alder"), json!(5_000_000_000u64), true),
            (4, json!("O'Brien \"x\""), json!(-2.5), false),
        ] {
            let values: Vec<Value> = object
                .fields
                .iter()
                .map(|f| match f.name.as_str() {
                    "Id" => json!(super::super::schema::record_id("001", n)),
                    "Name" => name.clone(),
                    "AnnualRevenue" => revenue.clone(),
                    "IsDeleted" => json!(deleted),
                    "SystemModstamp" => json!(format!("2024-01-0{}T00:00:00.000+0000", n.min(3))),
                    "LastActivityDate" if n == 1 => json!("2024-05-05"),
                    _ => Value::Null,
                })
                .collect();
            let record = Record::pack(&object, &values);
            object.table.put(record, None);
        }
        object
    }

    fn found(soql: &str, all: bool) -> Result<Vec<u32>, Refusal> {
        run(&accounts(), &parse(soql).unwrap(), all)
    }

    #[test]
    fn filters_find_what_they_say() {
        for (condition, want) in [
            ("Name = 'ALDER'", vec![1, 2]),
            ("Name != 'alder'", vec![0, 3]),
            ("Name LIKE 'al%'", vec![1, 2]),
            ("Name LIKE '%100\\%'", vec![0]),
            ("Name LIKE '_lder'", vec![1, 2]),
            ("Name = 'O\\'Brien \"x\"'", vec![3]),
            ("AnnualRevenue = null", vec![1]),
            ("AnnualRevenue != null AND AnnualRevenue < 200", vec![0, 3]),
            ("AnnualRevenue >= 5000000000", vec![2]),
            ("NOT (Name IN ('alder', 'x'))", vec![0, 3]),
            ("Name NOT IN ('alder')", vec![0, 3]),
            ("IsDeleted = true", vec![2]),
            ("IsDeleted = false AND (Name = 'alder' OR AnnualRevenue = 100)", vec![0, 1]),
            ("SystemModstamp >= 2024-01-03T00:00:00Z", vec![2, 3]),
            ("SystemModstamp > 2024-01-01T00:00:00.000+0000 AND SystemModstamp < 2024-01-03T00:00:00Z", vec![1]),
            ("LastActivityDate = 2024-05-05", vec![0]),
            ("LastActivityDate > 2024-05-04", vec![0]),
            ("Id = '0015g0000000001'", vec![0]),
            ("Id > '0015g0000000002AAA'", vec![2, 3]),
        ] {
            assert_eq!(found(&format!("SELECT Id FROM Account WHERE {condition}"), true), Ok(want), "{condition}");
        }
        assert_eq!(found("SELECT Id FROM Account", false), Ok(vec![0, 1, 3]));
    }

    #[test]
    fn order_limit_and_offset_hold() {
        for (tail, want) in [
            ("ORDER BY SystemModstamp", vec![0, 1, 2, 3]),
            ("ORDER BY SystemModstamp DESC", vec![2, 3, 1, 0]),
            ("ORDER BY AnnualRevenue", vec![1, 3, 0, 2]),
            ("ORDER BY AnnualRevenue DESC NULLS LAST", vec![2, 0, 3, 1]),
            ("ORDER BY Name, Id DESC", vec![2, 1, 3, 0]),
            ("ORDER BY Id DESC", vec![3, 2, 1, 0]),
            ("ORDER BY Id LIMIT 2", vec![0, 1]),
            ("ORDER BY SystemModstamp LIMIT 2 OFFSET 1", vec![1, 2]),
        ] {
            assert_eq!(found(&format!("SELECT Id FROM Account {tail}"), true), Ok(want), "{tail}");
        }
    }

    #[test]
    fn wrong_fields_and_types_are_refused() {
        for (condition, code) in [
            ("Nope = 1", "INVALID_FIELD"),
            ("Description = 'x'", "INVALID_FIELD"),
            ("BillingAddress = null", "INVALID_FIELD"),
            ("SystemModstamp > '2024-01-01T00:00:00Z'", "INVALID_FIELD"),
            ("Name = 3", "INVALID_FIELD"),
            ("AnnualRevenue = 'x'", "INVALID_FIELD"),
        ] {
            let refusal = found(&format!("SELECT Id FROM Account WHERE {condition}"), true).unwrap_err();
            assert_eq!(refusal.0, code, "{condition}");
        }
        assert_eq!(found("SELECT Id FROM Account ORDER BY Description", true).unwrap_err().0, "MALFORMED_QUERY");
    }
}
