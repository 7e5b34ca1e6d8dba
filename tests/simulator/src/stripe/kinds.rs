//! Decides which collections the Stripe account has, where they are listed and by what they can be filtered.

/// A collection of the account.
pub struct Kind {
    /// The name in the control API.
    pub name: &'static str,
    /// The value of the `object` member.
    pub object: &'static str,
    /// The last part of `/v1/...`; empty for those listed only below a parent.
    pub path: &'static str,
    pub id_prefix: &'static str,
    /// Members that listings can be filtered by. The first ones name parents.
    pub filters: &'static [&'static str],
    /// The collection its records belong to, named by the first filter.
    pub parent: Option<&'static str>,
    /// Lists inside its records: member, kind, whether only when expanded.
    pub embeds: &'static [(&'static str, &'static str, bool)],
    /// Whether a GET of a deleted one answers `{id, object, deleted: true}`.
    pub tells_deleted: bool,
}

const fn kind(
    name: &'static str,
    object: &'static str,
    path: &'static str,
    id_prefix: &'static str,
    filters: &'static [&'static str],
) -> Kind {
    Kind { name, object, path, id_prefix, filters, parent: None, embeds: &[], tells_deleted: false }
}

impl Kind {
    const fn below(self, parent: &'static str) -> Kind {
        Kind { parent: Some(parent), ..self }
    }
    const fn with(self, embeds: &'static [(&'static str, &'static str, bool)]) -> Kind {
        Kind { embeds, ..self }
    }
    const fn telling(self) -> Kind {
        Kind { tells_deleted: true, ..self }
    }
}

/// Cards and bank accounts are one kind, `sources`, told apart by their `object`.
pub const KINDS: [Kind; 24] = [
    kind("customers", "customer", "customers", "cus_", &["email", "test_clock"])
        .with(&[("sources", "sources", true), ("subscriptions", "subscriptions", true)])
        .telling(),
    kind("charges", "charge", "charges", "ch_", &["customer", "payment_intent", "transfer_group"])
        .with(&[("refunds", "refunds", true)]),
    kind("invoices", "invoice", "invoices", "in_", &["customer", "subscription", "status", "collection_method"])
        .with(&[("lines", "invoice_lines", false)]),
    kind("invoice_lines", "line_item", "", "il_", &["invoice"]).below("invoices"),
    kind("invoice_items", "invoiceitem", "invoiceitems", "ii_", &["customer", "invoice"]).telling(),
    kind("subscriptions", "subscription", "subscriptions", "sub_", &["customer", "status", "collection_method"])
        .with(&[("items", "subscription_items", false)]),
    kind("subscription_items", "subscription_item", "subscription_items", "si_", &["subscription"])
        .below("subscriptions")
        .telling(),
    kind("products", "product", "products", "prod_", &["active", "url", "shippable"]).telling(),
    kind("plans", "plan", "plans", "plan_", &["product", "active"]).telling(),
    kind("prices", "price", "prices", "price_", &["product", "active", "type", "currency"]),
    kind("coupons", "coupon", "coupons", "", &[]).telling(),
    kind("disputes", "dispute", "disputes", "dp_", &["charge", "payment_intent"]),
    kind("payment_intents", "payment_intent", "payment_intents", "pi_", &["customer"]),
    kind("payment_methods", "payment_method", "payment_methods", "pm_", &["customer", "type"]).below("customers"),
    kind("refunds", "refund", "refunds", "re_", &["charge", "payment_intent"]),
    kind("application_fees", "application_fee", "application_fees", "fee_", &["charge"]).with(&[(
        "refunds",
        "application_fee_refunds",
        false,
    )]),
    kind("application_fee_refunds", "fee_refund", "", "fr_", &["fee"]).below("application_fees"),
    kind(
        "balance_transactions",
        "balance_transaction",
        "balance_transactions",
        "txn_",
        &["source", "type", "currency", "payout"],
    ),
    kind("sources", "card", "", "card_", &["customer", "object"]).below("customers"),
    kind("tax_rates", "tax_rate", "tax_rates", "txr_", &["active", "inclusive"]),
    kind("transfers", "transfer", "transfers", "tr_", &["destination", "transfer_group"]).with(&[(
        "reversals",
        "transfer_reversals",
        false,
    )]),
    kind("transfer_reversals", "transfer_reversal", "", "trr_", &["transfer"]).below("transfers"),
    kind("payouts", "payout", "payouts", "po_", &["status", "destination"]),
    kind("events", "event", "events", "evt_", &["type"]),
];

pub const EVENTS: usize = KINDS.len() - 1;

/// Where a kind is in `KINDS`.
pub fn place(name: &str) -> Option<usize> {
    KINDS.iter().position(|k| k.name == name)
}

/// The kind a control collection stands for, and the `object` its records have.
pub fn collection(name: &str) -> Option<(usize, &'static str)> {
    match name {
        "cards" => Some((place("sources")?, "card")),
        "bank_accounts" => Some((place("sources")?, "bank_account")),
        "invoiceitems" => collection("invoice_items"),
        _ => place(name).map(|at| (at, KINDS[at].object)),
    }
}

/// The url of the list of a kind below one parent.
pub fn nested_url(child: &str, parent: &str) -> String {
    match child {
        "sources" => format!("/v1/customers/{parent}/sources"),
        "subscriptions" => format!("/v1/customers/{parent}/subscriptions"),
        "refunds" => format!("/v1/charges/{parent}/refunds"),
        "invoice_lines" => format!("/v1/invoices/{parent}/lines"),
        "subscription_items" => format!("/v1/subscription_items?subscription={parent}"),
        "application_fee_refunds" => format!("/v1/application_fees/{parent}/refunds"),
        "transfer_reversals" => format!("/v1/transfers/{parent}/reversals"),
        _ => format!("/v1/{child}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_embedded_kind_exists_and_has_its_parent_as_first_filter() {
        for kind in &KINDS {
            for (_, child, _) in kind.embeds {
                let child = &KINDS[place(child).unwrap()];
                assert_eq!(
                    child.filters.first().map(|f| f.trim_end_matches('s')),
                    Some(match kind.object {
                        "application_fee" => "fee",
                        object => object,
                    }),
                    "{}",
                    child.name
                );
            }
        }
    }
}
