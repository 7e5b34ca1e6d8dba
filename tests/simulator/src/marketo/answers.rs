//! Decides what replies look like: everything is HTTP 200, and `success` tells whether it is one (docs: /error-codes).

use serde_json::{json, Map, Value};

use crate::http::{decode_pairs, Reply, Request};
use crate::rest::time;

/// An error of the reply: code and message. The codes are strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub &'static str, pub String);

pub fn error<T>(code: &'static str, message: impl Into<String>) -> Result<T, Error> {
    Err(Error(code, message.into()))
}

/// What follows `success` in a good reply.
pub type Good = Result<Map<String, Value>, Error>;

/// A reply with these records. `nextPageToken` and `moreResult` are there only when more follow.
pub fn page(result: Vec<Value>, next: Option<String>) -> Good {
    let mut body = Map::new();
    body.insert("result".into(), Value::Array(result));
    if let Some(token) = next {
        body.insert("nextPageToken".into(), json!(token));
        body.insert("moreResult".into(), json!(true));
    }
    Ok(body)
}

pub fn one(record: Value) -> Good {
    page(vec![record], None)
}

pub fn reply(good: Good, request_id: &str) -> Reply {
    let mut body = Map::new();
    body.insert("requestId".into(), json!(request_id));
    match good {
        Ok(members) => {
            body.insert("success".into(), json!(true));
            body.extend(members);
        }
        Err(Error(code, message)) => {
            body.insert("success".into(), json!(false));
            body.insert("errors".into(), json!([{"code": code, "message": message}]));
        }
    }
    Reply::json(200, Value::Object(body).to_string())
}

/// A call as its endpoint reads it: a POST with `_method=GET` is a GET whose parameters are in its body.
pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    params: Vec<(String, String)>,
}

impl Asked<'_> {
    pub fn read(request: &Request) -> Asked<'_> {
        let mut params = request.params();
        let form = decode_pairs(&String::from_utf8_lossy(&request.body));
        let is_get = |params: &[(String, String)]| params.iter().any(|(n, v)| n == "_method" && v == "GET");
        let mut method = request.method.as_str();
        if method == "POST" && (is_get(&params) || is_get(&form)) {
            method = "GET";
            params.extend(form);
        }
        Asked { method, path: &request.path, params }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    pub fn needed(&self, name: &str) -> Result<&str, Error> {
        match self.get(name) {
            Some(value) => Ok(value),
            None => error("1002", format!("Missing value for the required parameter '{name}'")),
        }
    }

    /// The values of a list: separated by commas, or the parameter several times.
    pub fn list(&self, name: &str) -> Vec<String> {
        let values = self.params.iter().filter(|(n, _)| n == name).flat_map(|(_, v)| v.split(','));
        values.map(|v| v.trim().to_string()).filter(|v| !v.is_empty()).collect()
    }

    pub fn whole(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => error("1001", format!("Invalid value '{text}'. Required of type 'integer'")),
        }
    }

    /// The size of a page of the lead database: 300 unless asked for fewer.
    pub fn batch(&self) -> Result<usize, Error> {
        Ok(self.whole("batchSize")?.map_or(300, |size| size.clamp(1, 300) as usize))
    }
}

/// An instant in a request, in milliseconds. A `+` that was not encoded has become a space.
pub fn instant(text: &str) -> Option<i64> {
    if !text.contains('-') {
        return None;
    }
    time::parse(text).or_else(|| time::parse(&text.trim().replace(' ', "+")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_with_status_200_and_codes_as_strings() {
        let reply = reply(error("606", "too fast"), "1#2");
        assert_eq!(reply.status, 200);
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            body,
            json!({"requestId": "1#2", "success": false, "errors": [{"code": "606", "message": "too fast"}]})
        );
    }

    #[test]
    fn a_long_get_may_come_as_a_post() {
        let request = Request {
            method: "POST".into(),
            query: "a=1".into(),
            body: b"_method=GET&filterValues=1%2C2&filterValues=3".to_vec(),
            ..Request::default()
        };
        let asked = Asked::read(&request);
        assert_eq!((asked.method, asked.get("a")), ("GET", Some("1")));
        assert_eq!(asked.list("filterValues"), ["1", "2", "3"]);
        assert_eq!(asked.needed("filterType").err().map(|e| e.0), Some("1002"));
    }

    #[test]
    fn instants_may_have_lost_their_plus() {
        let at = Some(1_432_248_313_000);
        for text in [
            "2015-05-21T22:45:13+00:00",
            "2015-05-21T22:45:13 00:00",
            "2015-05-21T14:45:13-08:00",
            "2015-05-21T22:45:13Z",
        ] {
            assert_eq!(instant(text), at, "{text}");
        }
        assert_eq!(instant("2015-05-21"), Some(1_432_166_400_000));
        assert_eq!((instant("yesterday"), instant("1432248313")), (None, None));
    }
}
