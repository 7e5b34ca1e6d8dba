//! Decides which accounts are read, and through which manager each of them is reached.
//!
//! The owner names them (`customer_ids`), or they are all that lie below a manager: one query to `customer_client`, which
//! lists the whole tree. Without a manager in the options, every account that the user has a login for is such a root.
//! Managers have no rows of their own, and Google refuses queries to accounts that are closed.
//!
//! Docs: developers.google.com/google-ads/api/docs/concepts/call-structure; fields/v23/customer_client.
//!
//! Layer: extract. Knows nothing of Postgres.

use super::calls;
use super::gaql::Query;
use crate::error::SyncError;
use crate::extract::rest::raw::{elements, text_at};
use crate::http::{setting, Account, ApiClient, Request};
use serde::{Deserialize, Serialize};

/// An account to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub id: String,
    /// The manager for the header, where the options name none.
    pub login: Option<String>,
}

/// The accounts, and what is to be said of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customers {
    pub list: Vec<Customer>,
    pub notes: Vec<String>,
}

/// `123-456-7890` as people write it, as the API takes it.
fn id_of(text: &str, option: &str) -> Result<String, SyncError> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let only_digits = text.chars().all(|c| c.is_ascii_digit() || c == '-');
    if digits.len() == 10 && only_digits {
        return Ok(digits);
    }
    Err(SyncError::BadSetting {
        option: option.to_string(),
        detail: format!("\"{text}\" is no account: it has ten digits, as in 123-456-7890"),
    })
}

/// The accounts that the owner named.
pub fn named(account: &Account) -> Result<Option<Vec<Customer>>, SyncError> {
    let Some(text) = setting(account, "customer_ids") else { return Ok(None) };
    let mut list: Vec<Customer> = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let id = id_of(part, "customer_ids")?;
        if !list.iter().any(|known| known.id == id) {
            list.push(Customer { id, login: None });
        }
    }
    Ok(Some(list).filter(|list| !list.is_empty()))
}

/// The manager that the options name.
pub fn manager(account: &Account) -> Result<Option<String>, SyncError> {
    setting(account, "login_customer_id").map(|text| id_of(text.trim(), "login_customer_id")).transpose()
}

/// Which accounts there are below one.
pub fn below() -> Query {
    Query {
        select: ["customer_client.id", "customer_client.manager", "customer_client.status"].map(String::from).to_vec(),
        from: "customer_client".to_string(),
        ..Query::default()
    }
}

/// Finds the accounts to read, with no call where the options name them, and else once for all collections of a run.
pub async fn find(api: &ApiClient) -> Result<Customers, SyncError> {
    let manager = manager(api.account())?;
    if let Some(list) = named(api.account())? {
        return Ok(Customers { list, notes: Vec::new() });
    }
    let unusable = |e: serde_json::Error| SyncError::internal(format!("the list of accounts: {e}"));
    let ask = async { serde_json::to_value(ask(api, manager).await?).map_err(unusable) };
    serde_json::from_value(api.account().told.once("customers", ask).await?).map_err(unusable)
}

async fn ask(api: &ApiClient, manager: Option<String>) -> Result<Customers, SyncError> {
    let mut found = Customers::default();
    if let Some(id) = manager {
        add_below(api, &Customer { id, login: None }, &mut found).await?;
        return Ok(found);
    }
    for id in accessible(api).await? {
        let root = Customer { login: Some(id.clone()), id };
        match add_below(api, &root, &mut found).await {
            Err(error @ (SyncError::AccessDenied { .. } | SyncError::NotFound { .. })) => {
                found.notes.push(passed_over(&root.id, &error));
            }
            added => added?,
        }
    }
    Ok(found)
}

/// What is told of an account that was not read.
pub fn passed_over(id: &str, error: &SyncError) -> String {
    let words = match error {
        SyncError::AccessDenied { detail, .. } | SyncError::NotFound { detail, .. } => detail.clone(),
        other => other.to_string(),
    };
    format!("account {id} was passed over: {words}")
}

async fn add_below(api: &ApiClient, root: &Customer, found: &mut Customers) -> Result<(), SyncError> {
    let stream = calls::stream(api, root, &below()).await?;
    for row in stream.rows() {
        let Some(id) = text_at(row, "/customerClient/id") else { continue };
        let is_manager = text_at(row, "/customerClient/manager").as_deref() == Some("true");
        if is_manager || found.list.iter().any(|known| known.id == id) {
            continue;
        }
        match text_at(row, "/customerClient/status").as_deref() {
            Some(status @ ("CANCELED" | "CLOSED")) => {
                let note = format!("account {id} is {status} and was passed over");
                if !found.notes.contains(&note) {
                    found.notes.push(note);
                }
            }
            _ => found.list.push(Customer { id: id.into_owned(), login: root.login.clone() }),
        }
    }
    Ok(())
}

/// The call for the accounts that the user has a login for.
pub fn accessible_request() -> Request {
    Request { target: "/{api_version}/customers:listAccessibleCustomers".to_string(), ..Request::default() }
}

async fn accessible(api: &ApiClient) -> Result<Vec<String>, SyncError> {
    let read = |reply: &crate::http::Reply| {
        let text = String::from_utf8_lossy(&reply.body);
        let names = crate::extract::rest::raw::at(&text, "/resourceNames");
        if names.is_none() && !text.trim_start().starts_with('{') {
            return Err("no list of accounts".to_string());
        }
        let names = names.and_then(elements).unwrap_or_default();
        let ids = names.into_iter().filter_map(|name| text_at(name, ""));
        Ok(ids.filter_map(|name| name.strip_prefix("customers/").map(str::to_string)).collect())
    };
    api.call_parsed(accessible_request(), read).await
}

#[cfg(test)]
mod tests {
    use super::super::testing::account;
    use super::*;

    #[test]
    fn accounts_are_named_as_people_write_them() {
        let ids = |text: &str| {
            named(&account(&[("customer_ids", text)]))
                .map(|list| list.map(|list| list.into_iter().map(|one| one.id).collect::<Vec<_>>()))
        };
        assert_eq!(ids("").unwrap(), None);
        assert_eq!(ids("123-456-7890, 1000000002,1234567890").unwrap().unwrap(), ["1234567890", "1000000002"]);
        for wrong in ["12345", "customers/1234567890", "12345678901"] {
            assert!(matches!(ids(wrong), Err(SyncError::BadSetting { .. })), "{wrong}");
        }
        assert_eq!(manager(&account(&[("login_customer_id", "100-000-0001")])).unwrap().unwrap(), "1000000001");
    }
}
