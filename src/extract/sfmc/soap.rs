//! Writes the messages of the SOAP service and reads its answers.
//!
//! The token travels in the message, not in a header of HTTP. Refusals come with status 200 and an `OverallStatus`; only
//! what concerns the message as a whole is a fault, and those are read by the source's rules.
//!
//! Layer: extract. Knows nothing of Postgres.

use crate::error::SyncError;
use crate::http::{xml, ApiClient, Reply, Request};
use crate::manifest::{field_path, Collection};
use serde_json::Value;
use std::sync::atomic::Ordering::Relaxed;

/// The most records of one batch (docs: RetrieveOptions, BatchSize).
pub const BATCH: u32 = 2500;

const PARTNER: &str = "http://exacttarget.com/wsdl/partnerAPI";

/// One batch of a Retrieve.
#[derive(Debug)]
pub struct Batch {
    status: String,
    /// Names the Retrieve, to go on with it.
    pub id: Option<String>,
    /// As JSON.
    pub records: Vec<String>,
}

/// A text inside a message. What no XML can hold is no name or id of this app's.
pub fn text(text: &str) -> Result<std::borrow::Cow<'_, str>, SyncError> {
    xml::escaped(text).ok_or_else(|| SyncError::internal("a text cannot be written in XML"))
}

fn message(collection: &Collection, action: &str, body: &str) -> Request {
    let envelope = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><s:Header>\
         <fueloauth xmlns=\"http://exacttarget.com\">{{access_token}}</fueloauth></s:Header>\
         <s:Body>{body}</s:Body></s:Envelope>"
    );
    Request {
        method: "POST",
        target: collection.path.clone().unwrap_or_default(),
        base: collection.base_url.clone(),
        headers: vec![("SOAPAction".into(), action.into()), ("Accept".into(), "text/xml".into())],
        xml_body: Some(envelope),
        rules: collection.errors.clone(),
        ..Request::default()
    }
}

fn retrieve_message(collection: &Collection, inside: &str) -> Request {
    let body = format!(
        "<RetrieveRequestMsg xmlns=\"{PARTNER}\"><RetrieveRequest>{inside}</RetrieveRequest></RetrieveRequestMsg>"
    );
    message(collection, "Retrieve", &body)
}

/// The first batch of a Retrieve. Its parts have the order of the service's schema.
pub fn retrieve_request(
    collection: &Collection,
    properties: &[String],
    filter: Option<&str>,
    size: u32,
) -> Result<Request, SyncError> {
    let mut inside = format!("<ObjectType>{}</ObjectType>", text(&collection.object)?);
    for property in properties {
        inside.push_str(&format!("<Properties>{}</Properties>", text(property)?));
    }
    inside.push_str(filter.unwrap_or_default());
    inside.push_str(&format!("<Options><BatchSize>{size}</BatchSize></Options>"));
    Ok(retrieve_message(collection, &inside))
}

/// The next batch. The service moves on with each request, so one whose answer was lost must not be sent again: the
/// batch after it would come.
pub fn continue_request(collection: &Collection, id: &str) -> Result<Request, SyncError> {
    let inside = format!(
        "<ObjectType>{}</ObjectType><ContinueRequest>{}</ContinueRequest>",
        text(&collection.object)?,
        text(id)?
    );
    Ok(Request { once: true, ..retrieve_message(collection, &inside) })
}

/// What an object is made of.
pub fn describe_request(collection: &Collection) -> Result<Request, SyncError> {
    let body = format!(
        "<DefinitionRequestMsg xmlns=\"{PARTNER}\"><DescribeRequests><ObjectDefinitionRequest>\
         <ObjectType>{}</ObjectType></ObjectDefinitionRequest></DescribeRequests></DefinitionRequestMsg>",
        text(&collection.object)?
    );
    Ok(message(collection, "Describe", &body))
}

/// Makes a call of a Retrieve.
pub async fn retrieve(api: &ApiClient, request: Request) -> Result<Batch, SyncError> {
    let batch = api.call_parsed(request, read_batch).await?;
    api.stats().pages.fetch_add(1, Relaxed);
    Ok(batch)
}

fn read_batch(reply: &Reply) -> Result<Batch, String> {
    let results = field_path("/Envelope/Body/RetrieveResponseMsg/Results");
    let answer = xml::to_json(&reply.body, &[results])?;
    let inside = answer.pointer("/Envelope/Body/RetrieveResponseMsg").and_then(Value::as_object);
    let inside = inside.ok_or("the reply is not the answer to a Retrieve")?;
    let status = inside.get("OverallStatus").and_then(Value::as_str).ok_or("the answer has no OverallStatus")?;
    let records = inside.get("Results").and_then(Value::as_array).map(|list| list.iter().map(Value::to_string));
    Ok(Batch {
        status: status.trim().to_string(),
        id: inside.get("RequestID").and_then(Value::as_str).map(str::to_string).filter(|id| !id.is_empty()),
        records: records.map(Iterator::collect).unwrap_or_default(),
    })
}

impl Batch {
    /// Whether another batch follows; else why there is none at all.
    pub fn has_more(&self, api: &ApiClient, collection: &Collection) -> Result<bool, SyncError> {
        match self.status.as_str() {
            "OK" => Ok(false),
            "MoreDataAvailable" => Ok(true),
            refusal => Err(refused(&api.cleaned(refusal), collection)),
        }
    }
}

/// What a status that is neither means. The app's words are all there is: it gives no codes.
fn refused(status: &str, collection: &Collection) -> SyncError {
    let (detail, words) = (status.to_string(), status.to_ascii_lowercase());
    let says = |text: &str| words.contains(text);
    if says("request property") && says("do not match") {
        SyncError::FieldRefused { detail }
    } else if says("permission") {
        SyncError::AccessDenied { status: 200, detail }
    } else if says("continuerequest") {
        SyncError::CursorExpired { detail }
    } else {
        SyncError::BadRequest { status: 200, request: format!("Retrieve of {}", collection.object), detail }
    }
}

/// Whether the app refused a condition.
pub fn is_of_filter(error: &SyncError) -> bool {
    matches!(error, SyncError::BadRequest { detail, .. } if detail.to_ascii_lowercase().contains("filter"))
}
