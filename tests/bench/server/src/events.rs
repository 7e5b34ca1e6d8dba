//! Decides what `/v1/events` tells: one event for each change, newest first.

use crate::ids;
use crate::store::{Change, Kind};
use bytes::Bytes;

/// A change that nobody asked for over the API.
const REQUEST: &str = r#""request":{"id":null,"idempotency_key":null}"#;

/// One event, rendered, with its comma.
pub struct Event {
    pub created: u64,
    pub name: &'static str,
    pub rendered: Bytes,
}

/// All events, oldest first.
#[derive(Default)]
pub struct Events(Vec<Event>);

impl Events {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds the events of some changes, all created `now` and rendered for one version of the API.
    pub fn tell(&mut self, kind: Kind, changes: &[Change], now: u64, api_version: &str) {
        let name = match kind {
            Kind::Customer => "customer.updated",
            Kind::Charge => "charge.updated",
        };
        for change in changes {
            let id = ids::EVENT.id(self.0.len(), now);
            let mut text = format!(
                r#"{{"id":"{id}","object":"event","api_version":"{api_version}","created":{now},"data":{{"object":"#
            )
            .into_bytes();
            text.extend_from_slice(&change.record[..change.record.len() - 1]);
            text.extend_from_slice(
                format!(
                    r#","previous_attributes":{}}},"livemode":true,"pending_webhooks":0,{REQUEST},"type":"{name}"}},"#,
                    change.previous
                )
                .as_bytes(),
            );
            self.0.push(Event { created: now, name, rendered: Bytes::from(text) });
        }
    }

    /// The events behind one (or all), newest first.
    pub fn after(&self, id: Option<&str>) -> Option<impl Iterator<Item = &Event>> {
        let end = match id {
            None => self.0.len(),
            Some(id) => {
                let place = ids::EVENT.place(id)?;
                (ids::EVENT.id(place, self.0.get(place)?.created) == id).then_some(place)?
            }
        };
        Some(self.0[..end].iter().rev())
    }
}
