//! Decides what the SOAP service (Partner API) answers to Retrieve and Describe of lists and sends.
//!
//! developer.salesforce.com/docs/marketing/marketing-cloud, SOAP API. Most failures come as `OverallStatus` with HTTP 200; a
//! token that is not good is a fault with HTTP 500. Elements have the order of the service's schema, and `PartnerKey` and
//! `ObjectID` come as nil even when nobody asked for them.

use std::collections::HashMap;

use super::lists::{object, value, Filter, Property};
use super::xml::{escape, parse, Element};
use crate::app::Call;
use crate::chance::Chance;
use crate::http::{Reply, Request};
use crate::rest::{Book, Record};

const PARTNER: &str = "http://exacttarget.com/wsdl/partnerAPI";
const SOAP_12: &str = "http://www.w3.org/2003/05/soap-envelope";
const SOAP_11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// The most a batch can have, and what it has unless `BatchSize` says less.
const BATCH: usize = 2500;

/// A retrieve that has more to give.
struct Pending {
    rows: Vec<String>,
    size: usize,
}

pub struct Service {
    pending: HashMap<String, Pending>,
    chance: Chance,
}

/// A SOAP message's parts that matter here.
struct Message {
    action: String,
    token: Option<String>,
    body: Element,
    is_12: bool,
}

pub fn is_service(path: &str) -> bool {
    path.trim_matches('/').eq_ignore_ascii_case("service.asmx")
}

/// The token in a request's header element, for whoever judges credentials.
pub fn token_of(request: &Request) -> Option<String> {
    read(request).ok()?.token
}

fn read(request: &Request) -> Result<Message, &'static str> {
    let text = String::from_utf8_lossy(&request.body);
    let root = parse(&text).filter(|root| root.name == "Envelope").ok_or("The message is not well formed.")?;
    let is_12 = root.space == SOAP_12;
    let header = root.child("Header").cloned().unwrap_or_default();
    let token = header.child("fueloauth").filter(|e| e.space == "http://exacttarget.com");
    // zeep clients wrap the text in an element: it counts all the same.
    let token = token.map(|e| e.inner_text().trim().to_string()).filter(|token| !token.is_empty());
    let body = root.child("Body").and_then(|body| body.children.first()).cloned().ok_or("The body is empty.")?;
    let in_type = request.header("content-type").and_then(|t| t.split("action=").nth(1)).map(str::to_string);
    let in_header = header.child("Action").map(|action| action.text.clone());
    let action = request.header("soapaction").map(str::to_string).or(in_type).or(in_header).unwrap_or_default();
    Ok(Message { action: action.trim_matches(['"', ' ', ';']).to_string(), token, body, is_12 })
}

fn envelope(is_12: bool, status: u16, action: &str, body: &str) -> Reply {
    let (space, kind) = match is_12 {
        true => (SOAP_12, "application/soap+xml; charset=utf-8"),
        false => (SOAP_11, "text/xml; charset=utf-8"),
    };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"{space}\" \
         xmlns:wsa=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\
         <soap:Header><wsa:Action>{action}</wsa:Action></soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
    );
    Reply::json(status, text).with("Content-Type", kind)
}

/// A fault, as whichever version of SOAP writes it.
pub fn fault(is_12: bool, is_client: bool, text: &str) -> Reply {
    let text = escape(text);
    let body = if is_12 {
        let code = if is_client { "Sender" } else { "Receiver" };
        format!("<soap:Fault><soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code><soap:Reason><soap:Text xml:lang=\"en\">{text}</soap:Text></soap:Reason></soap:Fault>")
    } else {
        let code = if is_client { "Client" } else { "Server" };
        format!("<soap:Fault><faultcode>soap:{code}</faultcode><faultstring>{text}</faultstring></soap:Fault>")
    };
    envelope(is_12, 500, "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault", &body)
}

fn security_fault(is_12: bool, text: &str) -> Reply {
    match is_12 {
        true => fault(true, true, text),
        false => {
            let space = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
            let body = format!("<soap:Fault><faultcode xmlns:q0=\"{space}\">q0:Security</faultcode><faultstring>{text}</faultstring></soap:Fault>");
            envelope(false, 500, "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault", &body)
        }
    }
}

impl Service {
    pub fn new(seed: u64) -> Service {
        Service { pending: HashMap::new(), chance: Chance::new(seed, "soap") }
    }

    pub fn forget(&mut self) {
        self.pending.clear();
    }

    /// The answer to whoever has a credential judged like this.
    pub fn answer(&mut self, call: &Call<'_>, book: &Book, credential: &str) -> Reply {
        let message = match read(call.request) {
            Ok(message) => message,
            Err(text) => return fault(false, true, text),
        };
        match credential {
            "valid" => {}
            "expired" => return security_fault(message.is_12, "Token Expired"),
            _ => return security_fault(message.is_12, "Login Failed"),
        }
        if message.body.space != PARTNER {
            return fault(message.is_12, true, "Unable to handle request: the message is in no known namespace.");
        }
        match (message.action.as_str(), message.body.name.as_str()) {
            ("", _) => {
                let text = "Unable to determine SOAP action from HTTP header or WS-Addressing:Action.";
                fault(message.is_12, true, text)
            }
            ("Retrieve", "RetrieveRequestMsg") => self.retrieve(call, book, &message),
            ("Describe", "DefinitionRequestMsg") => self.describe(&message),
            (action, _) => fault(message.is_12, true, &format!("Unable to handle request: action {action}.")),
        }
    }

    fn retrieve(&mut self, call: &Call<'_>, book: &Book, message: &Message) -> Reply {
        let empty = Element::default();
        let request = message.body.child("RetrieveRequest").unwrap_or(&empty);
        let go_on = request.text_of("ContinueRequest");
        let outcome = match go_on.is_empty() {
            true => self.begin(call, book, request),
            false => Ok(go_on.to_string()),
        };
        let (status, id, rows) = match outcome {
            Ok(id) => self.next_batch(id),
            Err(error) => (error, self.request_id(), Vec::new()),
        };
        let results = rows.concat();
        let body = format!(
            "<RetrieveResponseMsg xmlns=\"{PARTNER}\"><OverallStatus>{}</OverallStatus><RequestID>{id}</RequestID>{results}</RetrieveResponseMsg>",
            escape(&status)
        );
        envelope(message.is_12, 200, "RetrieveResponse", &body)
    }

    fn request_id(&mut self) -> String {
        let hex = format!("{:016x}{:016x}", self.chance.next(), self.chance.next());
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// Notes what a new retrieve has to give: the rows of this moment. The error is an `OverallStatus`.
    fn begin(&mut self, call: &Call<'_>, book: &Book, request: &Element) -> Result<String, String> {
        let kind = request.text_of("ObjectType");
        let Some((collection, offered)) = object(kind) else {
            return Err(format!("Error: The object type {kind} is not played here"));
        };
        // Errors write the name as the service does, whatever its case in the request.
        let kind = if collection == "lists" { "List" } else { "Send" };
        if call.config.denies(&[collection, collection.trim_end_matches('s')]) {
            return Err("Error: API Permission Failed".into());
        }
        let properties: Vec<&str> = request.all("Properties").map(|p| p.text.trim()).collect();
        let is_known = |name: &str| offered.iter().any(|(n, _, can)| *n == name && *can);
        let unknown: Vec<&str> = properties.iter().copied().filter(|name| !is_known(name)).collect();
        if !unknown.is_empty() || properties.is_empty() {
            let named = unknown.join(",");
            return Err(format!(
                "Error: The Request Property(s) {named} do not match with the fields of {kind} retrieve"
            ));
        }
        let filter = request.child("Filter").map(|part| Filter::read(part, kind, offered)).transpose()?;
        let mut records = book.listed(collection);
        records.sort_by_key(|record| record.number_of("ID"));
        let kept = records.iter().filter(|record| filter.as_ref().is_none_or(|filter| filter.holds(record)));
        let rows: Vec<String> = kept.map(|record| result(record, kind, offered, &properties)).collect();
        let asked = request.child("Options").and_then(|options| options.text_of("BatchSize").parse().ok());
        let size = call.config.page_of(asked.filter(|n| *n > 0).unwrap_or(BATCH), BATCH);
        let id = self.request_id();
        self.pending.insert(id.clone(), Pending { rows, size });
        Ok(id)
    }

    fn next_batch(&mut self, id: String) -> (String, String, Vec<String>) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return ("Error: The ContinueRequest is unknown or has expired".into(), id, Vec::new());
        };
        let rows: Vec<String> = pending.rows.drain(..pending.size.min(pending.rows.len())).collect();
        let status = if pending.rows.is_empty() { "OK" } else { "MoreDataAvailable" };
        if pending.rows.is_empty() {
            self.pending.remove(&id);
        }
        (status.into(), id, rows)
    }

    fn describe(&mut self, message: &Message) -> Reply {
        let wanted = message.body.child("DescribeRequests").cloned().unwrap_or_default();
        let mut objects = String::new();
        for request in wanted.all("ObjectDefinitionRequest") {
            let kind = request.text_of("ObjectType");
            let properties: String = object(kind)
                .map_or(&[][..], |(_, offered)| offered)
                .iter()
                .map(|(name, data_type, is_retrievable)| {
                    format!(
                        "<Properties><PartnerKey xsi:nil=\"true\" /><ObjectID xsi:nil=\"true\" /><Name>{name}</Name>\
                         <DataType>{data_type}</DataType><IsUpdatable>true</IsUpdatable>\
                         <IsRetrievable>{is_retrievable}</IsRetrievable><IsRequired>false</IsRequired></Properties>"
                    )
                })
                .collect();
            objects.push_str(&format!(
                "<ObjectDefinition><ObjectType>{}</ObjectType>{properties}</ObjectDefinition>",
                escape(kind)
            ));
        }
        let id = self.request_id();
        let body = format!(
            "<DefinitionResponseMsg xmlns=\"{PARTNER}\">{objects}<RequestID>{id}</RequestID></DefinitionResponseMsg>"
        );
        envelope(message.is_12, 200, "DescribeResponse", &body)
    }
}

/// One result, in the order of the schema: objects inside it first.
fn result(record: &Record, kind: &str, offered: &[Property], properties: &[&str]) -> String {
    let asked = |name: &str| properties.contains(&name);
    let mut xml = format!("<Results xsi:type=\"{}\">", escape(kind));
    for outer in ["Client", "Email"] {
        let members: String = offered
            .iter()
            .filter(|(name, _, _)| asked(name))
            .filter_map(|(name, _, _)| {
                let member = name.strip_prefix(outer)?.strip_prefix('.')?;
                Some(format!("<{member}>{}</{member}>", escape(&value(record, name)?)))
            })
            .collect();
        if !members.is_empty() {
            xml.push_str(&format!("<{outer}>{members}</{outer}>"));
        }
    }
    for (name, _, _) in offered.iter().filter(|(name, _, can)| *can && !name.contains('.')) {
        let text = if asked(name) { value(record, name) } else { None };
        match text {
            Some(text) => xml.push_str(&format!("<{name}>{}</{name}>", escape(&text))),
            None if matches!(*name, "PartnerKey" | "ObjectID") => xml.push_str(&format!("<{name} xsi:nil=\"true\" />")),
            None => {}
        }
    }
    xml.push_str("</Results>");
    xml
}
