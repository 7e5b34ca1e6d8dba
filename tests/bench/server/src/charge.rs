//! Decides what a charge looks like: every documented field of API version 2024-06-20
//! (docs: https://docs.stripe.com/api/charges/object), paid by card and shipped, about 2.7 KB.

use crate::chance::Chance;
use crate::ids;
use crate::render::{put, token, Person};
use crate::words::{BRANDS, CAMPAIGNS, CHANNELS, LAST, PRODUCTS};

/// What a change alters; everything else stays as it was.
pub struct Changing {
    pub tracking_number: u64,
}

pub fn changing(seed: u64, place: usize, version: u64) -> Changing {
    let mut chance = Chance::new(seed ^ 0xc4, place as u64, version);
    Changing { tracking_number: chance.between(10_000_000_000_000, 99_999_999_999_999) }
}

pub fn render(to: &mut String, seed: u64, place: usize, id: &str, created: u64, version: u64) {
    let chance = &mut Chance::new(seed ^ 0x5eed, place as u64, 0);
    let person = Person::draw(chance);
    let [.., country, currency, _] = person.place;
    let amount = chance.between(150, 400_000);
    let refunded = if chance.percent(3) { amount } else { 0 };
    let product = chance.pick(PRODUCTS);
    put!(
        to,
        r#"{{"id":"{id}","object":"charge","amount":{amount},"amount_captured":{amount},"amount_refunded":{refunded},"#
    );
    to.push_str(r#""application":null,"application_fee":null,"application_fee_amount":null,"#);
    put!(to, r#""balance_transaction":"{}","billing_details":{{"address":"#, token(chance, "txn_3", 24));
    person.put_address(to);
    put!(to, r#","email":"{}","name":"{}","phone":"{}"}},"#, person.email, person.name, person.phone);
    put!(to, r#""calculated_statement_descriptor":"EXAMPLE* ORDER {:06}","captured":true,"#, chance.below(1_000_000));
    // Charges are shared among the newest hundred thousand customers.
    let customer = chance.below(100_000) as usize;
    let customer = ids::CUSTOMER.id(customer, ids::created(customer));
    put!(to, r#""created":{created},"currency":"{currency}","customer":"{customer}","#);
    put!(
        to,
        r#""description":"{product}, order {}","destination":null,"dispute":null,"disputed":false,"#,
        chance.between(100_000, 999_999)
    );
    to.push_str(r#""failure_balance_transaction":null,"failure_code":null,"failure_message":null,"fraud_details":{},"#);
    put!(to, r#""invoice":"{}","livemode":true,"metadata":{{"#, token(chance, "in_1", 23));
    put!(to, r#""order_id":"{}","#, token(chance, "ord_", 18));
    put!(
        to,
        r#""channel":"{}","campaign":"{}","warehouse":"{}-{}","#,
        chance.pick(CHANNELS),
        chance.pick(CAMPAIGNS),
        country,
        chance.between(1, 9)
    );
    put!(
        to,
        r#""sales_person":"{} {}","trace_id":"{:016x}","#,
        chance.pick(crate::words::FIRST),
        chance.pick(LAST),
        chance.next()
    );
    put!(to, r#""revision":"{version}"}},"on_behalf_of":null,"order":null,"#);
    put_outcome(to, chance);
    put!(
        to,
        r#","paid":true,"payment_intent":"{}","payment_method":"{}","#,
        token(chance, "pi_3", 23),
        token(chance, "pm_1", 23)
    );
    put_payment_method_details(to, chance, amount, country);
    put!(
        to,
        r#","radar_options":{{}},"receipt_email":"{}","receipt_number":"{:04}-{:04}","#,
        person.email,
        chance.below(10_000),
        chance.below(10_000)
    );
    let receipt = token(chance, "CAcaFwoVYWNjdF8xTW1sTHJMa2RJd0h1N2l4K", 30);
    put!(
        to,
        r#""receipt_url":"https://pay.stripe.com/receipts/payment/{receipt}","refunded":{},"review":null,"#,
        refunded > 0
    );
    to.push_str(r#""shipping":{"address":"#);
    person.put_address(to);
    let Changing { tracking_number } = changing(seed, place, version);
    put!(
        to,
        r#","carrier":"{}","name":"{}","phone":"{}","#,
        chance.pick(&["DHL", "UPS", "FedEx", "USPS"]),
        person.name,
        person.phone
    );
    put!(to, r#""tracking_number":"{tracking_number}"}},"source":null,"source_transfer":null,"#);
    put!(
        to,
        r#""statement_descriptor":null,"statement_descriptor_suffix":"ORDER {:06}","status":"succeeded","#,
        chance.below(1_000_000)
    );
    to.push_str(r#""transfer_data":null,"transfer_group":null}"#);
}

fn put_outcome(to: &mut String, chance: &mut Chance) {
    let score = chance.below(65);
    put!(
        to,
        r#""outcome":{{"network_status":"approved_by_network","reason":null,"risk_level":"normal","risk_score":{score}"#
    );
    to.push_str(r#","seller_message":"Payment complete.","type":"authorized"}"#);
}

fn put_payment_method_details(to: &mut String, chance: &mut Chance, amount: u64, country: &str) {
    let brand = chance.pick(BRANDS);
    let postal_code = if chance.percent(90) { "pass" } else { "unchecked" };
    put!(
        to,
        r#""payment_method_details":{{"card":{{"amount_authorized":{amount},"authorization_code":"{:06}","#,
        chance.below(1_000_000)
    );
    put!(to, r#""brand":"{brand}","capture_before":null,"checks":{{"address_line1_check":"pass","#);
    put!(to, r#""address_postal_code_check":"{postal_code}","cvc_check":"pass"}},"country":"{country}","#);
    put!(to, r#""exp_month":{},"exp_year":{},"#, chance.between(1, 12), chance.between(2026, 2032));
    put!(to, r#""extended_authorization":{{"status":"disabled"}},"fingerprint":"{}","#, token(chance, "", 16));
    put!(
        to,
        r#""funding":"{}","incremental_authorization":{{"status":"unavailable"}},"#,
        chance.pick(&["credit", "debit", "prepaid"])
    );
    put!(
        to,
        r#""installments":null,"last4":"{:04}","mandate":null,"multicapture":{{"status":"unavailable"}},"#,
        chance.below(10_000)
    );
    put!(to, r#""network":"{brand}","network_token":{{"used":{}}},"#, chance.percent(40));
    put!(to, r#""overcapture":{{"maximum_amount_capturable":{amount},"status":"unavailable"}},"three_d_secure":"#);
    if chance.percent(25) {
        put!(
            to,
            r#"{{"authentication_flow":"frictionless","electronic_commerce_indicator":"05","exemption_indicator":null,"#
        );
        put!(
            to,
            r#""result":"authenticated","result_reason":null,"transaction_id":"{}","version":"2.2.0"}}"#,
            token(chance, "", 36)
        );
    } else {
        to.push_str("null");
    }
    to.push_str(r#","wallet":"#);
    if chance.percent(30) {
        put!(
            to,
            r#"{{"apple_pay":{{"type":"apple_pay"}},"dynamic_last4":"{:04}","type":"apple_pay"}}"#,
            chance.below(10_000)
        );
    } else {
        to.push_str("null");
    }
    to.push_str(r#"},"type":"card"}"#);
}
