//! Plays Salesforce Marketing Cloud: still to be written.

use crate::app::{App, Unwritten};

pub fn new(_seed: u64) -> Box<dyn App> {
    Box::new(Unwritten("salesforce_marketing_cloud"))
}
