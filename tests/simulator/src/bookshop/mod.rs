//! Plays a small REST API such as a company has of its own: a bookshop. No vendor has it; it is what README.md and the
//! tests define as a source of a user's own.
//!
//! `GET /v1/{authors,books,orders}` by `page` and `per_page`, with `next` as a link too. `updated_since` gives what changed
//! from then on, oldest first, and only there a deleted record is shown, with `deleted_at`. `GET /v1/books/{id}/reviews` lists
//! below a book. Either a key or a token of `POST /oauth/token` (client credentials) is sent as bearer.

use serde_json::{json, Map, Value};

use crate::app::{App, Call};
use crate::chance::Chance;
use crate::http::{Reply, Request};
use crate::names;
use crate::rest::time::{self, Form};
use crate::rest::{auth, crud, page, Book, Kind, Stamp};

/// Records of a page at most, and when none says how many.
const MOST: usize = 100;
const USUAL: usize = 20;

const KINDS: &[Kind] =
    &[kind("authors", None), kind("books", None), kind("orders", None), kind("reviews", Some("book_id"))];

const fn kind(name: &'static str, parent: Option<&'static str>) -> Kind {
    Kind {
        name,
        key: &["id"],
        created: Some(Stamp("created_at", Form::Iso)),
        updated: Some(Stamp("updated_at", Form::Iso)),
        parent,
    }
}

pub fn new(seed: u64) -> Box<dyn App> {
    Box::new(Bookshop {
        book: Book::new(KINDS),
        chance: Chance::new(seed, "bookshop"),
        tokens: auth::Tokens::new(seed),
    })
}

struct Bookshop {
    book: Book,
    chance: Chance,
    tokens: auth::Tokens,
}

fn refuse(status: u16, message: &str) -> Reply {
    Reply::json(status, json!({"error": {"status": status, "message": message}}).to_string())
}

impl Bookshop {
    /// Client credentials, in the body as a form.
    fn token(&mut self, call: &Call<'_>) -> Reply {
        let form = call.request.form();
        let field = |name: &str| form.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
        let is_good = field("client_id") == call.config.text("client_id")
            && field("client_secret") == call.config.text("client_secret");
        let reply = match (field("grant_type"), is_good) {
            ("client_credentials", true) => {
                let token = self.tokens.mint("book-", 3600, call.now_ms);
                let body = json!({"access_token": token, "expires_in": 3600, "api_url": call.config.text("api_url")});
                Reply::json(200, body.to_string())
            }
            ("client_credentials", false) => Reply::json(401, json!({"error": "invalid_client"}).to_string()),
            _ => Reply::json(400, json!({"error": "unsupported_grant_type"}).to_string()),
        };
        Reply { credential: if is_good { "valid" } else { "wrong" }, ..reply }
    }

    fn route(&mut self, call: &Call<'_>) -> Reply {
        self.book.publish(call.now_ms);
        let path = call.request.path.trim_matches('/');
        let parts: Vec<&str> = path.split('/').collect();
        if call.request.method != "GET" {
            return refuse(405, "This resource can only be read.");
        }
        match parts.as_slice() {
            ["v1", "ping"] => Reply::json(200, json!({"ok": true}).to_string()),
            ["v1", collection] if call.config.denies(&[collection]) => refuse(403, "This key may not read it."),
            ["v1", collection @ ("authors" | "books" | "orders")] => self.list(call, collection),
            ["v1", "books", id, "reviews"] => match self.book.find("books", id) {
                Some(_) => paged(call, self.book.children("reviews", id).iter().map(|r| r.json()).collect()),
                None => refuse(404, "There is no such book."),
            },
            ["v1", collection @ ("authors" | "books" | "orders"), id] => match self.book.find(collection, id) {
                Some(record) => Reply::json(200, record.json().to_string()),
                None => refuse(404, "There is no such record."),
            },
            _ => refuse(404, "There is no such resource."),
        }
    }

    fn list(&self, call: &Call<'_>, collection: &str) -> Reply {
        let Some(since) = call.request.param("updated_since") else {
            return paged(call, self.book.listed(collection).iter().map(|record| record.json()).collect());
        };
        match time::parse(&since) {
            Some(from) => {
                let changed = self.book.by_change(collection, from, i64::MAX);
                paged(call, changed.iter().map(|record| record.json()).collect())
            }
            None => refuse(400, "updated_since is an instant, as 2026-01-31T12:00:00Z."),
        }
    }

    /// Some record of a collection, for what refers to it.
    fn some(&mut self, collection: &str) -> Value {
        let alive: Vec<_> = self.book.all_latest(collection).into_iter().filter(|r| !r.is_deleted()).collect();
        let at = self.chance.below(alive.len().max(1) as u64) as usize;
        alive.get(at).map_or(Value::Null, |record| record.get("id").clone())
    }
}

fn paged(call: &Call<'_>, all: Vec<Value>) -> Reply {
    let request = call.request;
    let size = call.config.page_of(page::number(request, "per_page").unwrap_or(USUAL), MOST);
    let number = page::number(request, "page").unwrap_or(1).max(1);
    let pages = all.len().div_ceil(size).max(1);
    let next = (number < pages).then(|| page::link_with(request, &[("page", Some(&(number + 1).to_string()))]));
    let data = page::slice(&all, (number - 1) * size, size);
    Reply::json(200, json!({"data": data, "page": number, "total_pages": pages, "next": next}).to_string())
}

impl App for Bookshop {
    fn answer(&mut self, call: &Call<'_>) -> Reply {
        if call.request.path == "/oauth/token" {
            return self.token(call);
        }
        let given = auth::bearer(call.request);
        let credential = match auth::judge(given, call.config.text("api_key")) {
            "wrong" => self.tokens.check(given, call.now_ms),
            judged => judged,
        };
        let reply = match credential {
            "valid" if call.is_over_rate => refuse(429, "Too many requests.").with("Retry-After", "1"),
            "valid" => self.route(call),
            _ => refuse(401, "The key is not valid."),
        };
        Reply { credential, ..reply }
    }

    /// `api_url`: what a token answer names as the address of the API.
    fn knobs(&self) -> Value {
        json!({"api_key": "sim-bookshop-key", "client_id": "sim-shop", "client_secret": "sim-shop-secret", "api_url": ""})
    }

    fn book(&mut self) -> Option<&mut Book> {
        Some(&mut self.book)
    }

    fn draft(
        &mut self,
        collection: &str,
        number: u64,
        at_ms: i64,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let (first, last) = names::person(number);
        let made = match collection {
            "authors" => json!({"id": number + 1, "name": format!("{first} {last}"), "country": "DE"}),
            "books" => json!({
                "id": number + 1, "title": names::prose(&mut self.chance, 3), "author_id": self.some("authors"),
                "price": {"amount": format!("{}.90", 5 + self.chance.below(40)), "currency": "EUR"},
                "tags": ["new"], "order": number, "deleted_at": null,
            }),
            "orders" => json!({
                "id": format!("ord-{:05}", number + 1), "book_id": self.some("books"), "copies": 1 + self.chance.below(5),
                "customer_email": names::mailbox(number, number % 7), "ordered_on": Form::Date.text(at_ms),
                "deleted_at": null,
            }),
            "reviews" => json!({"id": number + 1, "book_id": self.some("books"), "stars": 1 + self.chance.below(5)}),
            other => return Err(format!("{other} cannot be created")),
        };
        let mut fields = made.as_object().cloned().unwrap_or_default();
        crud::merge(&mut fields, given);
        Ok(fields)
    }

    fn mark(&mut self, _collection: &str, fields: &mut Map<String, Value>, is_deleted: bool, at_ms: i64) {
        let at = if is_deleted { Form::Iso.write(at_ms) } else { Value::Null };
        fields.insert("deleted_at".into(), at);
    }

    fn error_body(&self, status: u16) -> String {
        json!({"error": {"status": status, "message": "The request could not be processed."}}).to_string()
    }

    fn place_params(&self) -> &'static [&'static str] {
        &["page"]
    }

    /// `page=1` is a first page too.
    fn starts_listing(&self, request: &Request) -> bool {
        request.param("page").is_none_or(|number| number == "1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::rest::probe::Probe;

    const NOW: i64 = clock::ANCHOR_S * 1000 + 86_400_000;

    fn shop() -> Probe {
        let mut probe = Probe::new(new(1), NOW);
        probe.headers = vec![("authorization".into(), "Bearer sim-bookshop-key".into())];
        probe.control("POST", "seed", json!({"authors": 3, "books": 25, "orders": 7, "reviews": 4}));
        probe
    }

    #[test]
    fn a_listing_has_pages_by_number_and_by_link() {
        let mut shop = shop();
        let first = shop.get(200, "/v1/books");
        assert_eq!((first["data"].as_array().unwrap().len(), &first["total_pages"]), (20, &json!(2)));
        let last = shop.get(200, first["next"].as_str().unwrap());
        assert_eq!((last["data"].as_array().unwrap().len(), &last["next"]), (5, &Value::Null));
    }

    #[test]
    fn only_changes_show_what_was_deleted() {
        let mut shop = shop();
        shop.control("DELETE", "books/3", json!({}));
        assert!(!shop.get(200, "/v1/books?per_page=100")["data"].as_array().unwrap().iter().any(|b| b["id"] == 3));
        let changed = shop.get(200, "/v1/books?updated_since=2026-01-01T12:00:00Z&per_page=100");
        let gone: Vec<&Value> = changed["data"].as_array().unwrap().iter().filter(|b| b["id"] == 3).collect();
        assert!(gone.len() == 1 && gone[0]["deleted_at"].is_string(), "{changed}");
        shop.get(400, "/v1/books?updated_since=yesterday");
    }

    #[test]
    fn a_token_is_as_good_as_the_key() {
        let mut shop = shop();
        shop.headers = Vec::new();
        shop.get(401, "/v1/ping");
        let reply =
            shop.reply("POST", "/oauth/token", "grant_type=client_credentials&client_id=sim-shop&client_secret=x");
        assert_eq!(reply.status, 401);
        let form = "grant_type=client_credentials&client_id=sim-shop&client_secret=sim-shop-secret";
        let answer: Value = serde_json::from_slice(&shop.reply("POST", "/oauth/token", form).body).unwrap();
        shop.headers = vec![("authorization".into(), format!("Bearer {}", answer["access_token"].as_str().unwrap()))];
        assert_eq!(shop.get(200, "/v1/ping"), json!({"ok": true}));
    }
}
