//! Decides what a customer looks like: every documented field of API version 2024-06-20 that a list shows unasked
//! (docs: https://docs.stripe.com/api/customers/object), about 1.0 KB.

use crate::chance::Chance;
use crate::render::{put, token, Person};
use crate::words::{CAMPAIGNS, CHANNELS, PLANS};

/// What a change alters; everything else stays as it was.
pub struct Changing {
    pub balance: i64,
    pub next_invoice_sequence: u64,
}

pub fn changing(seed: u64, place: usize, version: u64) -> Changing {
    let mut chance = Chance::new(seed ^ 0xc0, place as u64, version);
    Changing { balance: -(chance.below(50_000) as i64), next_invoice_sequence: chance.between(1, 400) + 400 * version }
}

pub fn render(to: &mut String, seed: u64, place: usize, id: &str, created: u64, version: u64) {
    let chance = &mut Chance::new(seed, place as u64, 0);
    let person = Person::draw(chance);
    let [.., currency, locale] = person.place;
    let Changing { balance, next_invoice_sequence } = changing(seed, place, version);
    put!(to, r#"{{"id":"{id}","object":"customer","address":"#);
    person.put_address(to);
    put!(to, r#","balance":{balance},"created":{created},"currency":"{currency}","default_source":null,"#);
    put!(
        to,
        r#""delinquent":{},"description":"{} account of {}","discount":null,"#,
        chance.percent(4),
        chance.pick(PLANS),
        person.name
    );
    put!(to, r#""email":"{}","invoice_prefix":"{}","#, person.email, token(chance, "", 8).to_ascii_uppercase());
    put!(to, r#""invoice_settings":{{"custom_fields":null,"default_payment_method":"{}","#, token(chance, "pm_1", 23));
    to.push_str(r#""footer":null,"rendering_options":null},"livemode":true,"metadata":{"#);
    put!(to, r#""crm_id":"{}","plan":"{}","#, token(chance, "003", 15), chance.pick(PLANS));
    put!(to, r#""signup_channel":"{}","campaign":"{}","#, chance.pick(CHANNELS), chance.pick(CAMPAIGNS));
    put!(to, r#""external_reference":"{}","revision":"{version}"}},"#, token(chance, "", 22));
    put!(to, r#""name":"{}","next_invoice_sequence":{next_invoice_sequence},"phone":"{}","#, person.name, person.phone);
    put!(to, r#""preferred_locales":["{locale}"],"shipping":"#);
    if chance.percent(80) {
        to.push_str(r#"{"address":"#);
        person.put_address(to);
        put!(to, r#","name":"{}","phone":"{}"}}"#, person.name, person.phone);
    } else {
        to.push_str("null");
    }
    to.push_str(r#","tax_exempt":"none","test_clock":null}"#);
}
