//! Decides what a record of each kind looks like before anything is said about it: the members of API version 2024-06-20.

use serde_json::{json, Value};

fn no_address() -> Value {
    json!({"city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null})
}

/// A new record of a kind.
pub fn template(name: &str, object: &str, id: &str, created: i64) -> Value {
    let period_end = created + 30 * 86_400;
    match (name, object) {
        ("customers", _) => json!({
            "id": id, "object": "customer", "address": null, "balance": 0, "created": created, "currency": "usd", "default_source": null,
            "delinquent": false, "description": null, "discount": null, "email": null, "invoice_prefix": tail(id, 8).to_ascii_uppercase(),
            "invoice_settings": {"custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null},
            "livemode": false, "metadata": {}, "name": null, "next_invoice_sequence": 1, "phone": null, "preferred_locales": [],
            "shipping": null, "tax_exempt": "none", "test_clock": null,
        }),
        ("charges", _) => json!({
            "id": id, "object": "charge", "amount": 2000, "amount_captured": 2000, "amount_refunded": 0, "application": null,
            "application_fee": null, "application_fee_amount": null, "balance_transaction": null,
            "billing_details": {"address": no_address(), "email": null, "name": null, "phone": null},
            "calculated_statement_descriptor": "CLOUDSYNC SIM", "captured": true, "created": created, "currency": "usd", "customer": null,
            "description": null, "destination": null, "dispute": null, "disputed": false, "failure_balance_transaction": null,
            "failure_code": null, "failure_message": null, "fraud_details": {}, "invoice": null, "livemode": false, "metadata": {},
            "on_behalf_of": null, "order": null,
            "outcome": {"network_status": "approved_by_network", "reason": null, "risk_level": "normal", "risk_score": 32,
                "seller_message": "Payment complete.", "type": "authorized"},
            "paid": true, "payment_intent": null, "payment_method": format!("pm_{}", tail(id, 20)),
            "payment_method_details": {"card": {
                "amount_authorized": 2000, "authorization_code": null, "brand": "visa",
                "checks": {"address_line1_check": null, "address_postal_code_check": "pass", "cvc_check": "pass"},
                "country": "US", "exp_month": 8, "exp_year": 2030, "extended_authorization": {"status": "disabled"},
                "fingerprint": tail(id, 16), "funding": "credit", "incremental_authorization": {"status": "unavailable"},
                "installments": null, "last4": "4242", "mandate": null, "multicapture": {"status": "unavailable"}, "network": "visa",
                "network_token": {"used": false}, "overcapture": {"maximum_amount_capturable": 2000, "status": "unavailable"},
                "three_d_secure": null, "wallet": null}, "type": "card"},
            "radar_options": {}, "receipt_email": null, "receipt_number": null,
            "receipt_url": format!("https://pay.stripe.example/receipts/payment/CAcaFwoVYWNjdF8xU2ltdWxhdGVkQWNjb3VudCj{}{}", tail(id, 24), tail(id, 20)),
            "refunded": false, "review": null, "shipping": null, "source": null, "source_transfer": null, "statement_descriptor": null,
            "statement_descriptor_suffix": null, "status": "succeeded", "transfer_data": null, "transfer_group": null,
        }),
        ("invoices", _) => json!({
            "id": id, "object": "invoice", "account_country": "US", "account_name": "cloudsync simulator", "account_tax_ids": null,
            "amount_due": 1000, "amount_paid": 0, "amount_remaining": 1000, "amount_shipping": 0, "application": null,
            "application_fee_amount": null, "attempt_count": 0, "attempted": false, "auto_advance": false,
            "automatic_tax": {"enabled": false, "liability": null, "status": null}, "automatically_finalizes_at": null,
            "billing_reason": "manual", "charge": null, "collection_method": "charge_automatically", "created": created, "currency": "usd",
            "custom_fields": null, "customer": null, "customer_address": null, "customer_email": null, "customer_name": null,
            "customer_phone": null, "customer_shipping": null, "customer_tax_exempt": "none", "customer_tax_ids": [],
            "default_payment_method": null, "default_source": null, "default_tax_rates": [], "description": null, "discount": null,
            "discounts": [], "due_date": null, "effective_at": null, "ending_balance": null, "footer": null, "from_invoice": null,
            "hosted_invoice_url": null, "invoice_pdf": null, "issuer": {"type": "self"}, "last_finalization_error": null,
            "latest_revision": null, "livemode": false, "metadata": {}, "next_payment_attempt": null, "number": null, "on_behalf_of": null,
            "paid": false, "paid_out_of_band": false, "payment_intent": null,
            "payment_settings": {"default_mandate": null, "payment_method_options": null, "payment_method_types": null},
            "period_end": created, "period_start": created, "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0,
            "quote": null, "receipt_number": null, "rendering": null, "shipping_cost": null, "shipping_details": null,
            "starting_balance": 0, "statement_descriptor": null, "status": "draft",
            "status_transitions": {"finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null},
            "subscription": null, "subscription_details": {"metadata": null}, "subtotal": 1000, "subtotal_excluding_tax": 1000, "tax": null,
            "test_clock": null, "total": 1000, "total_discount_amounts": [], "total_excluding_tax": 1000, "total_tax_amounts": [],
            "transfer_data": null, "webhooks_delivered_at": null,
        }),
        ("invoice_lines", _) => json!({
            "id": id, "object": "line_item", "amount": 1000, "amount_excluding_tax": 1000, "currency": "usd", "description": null,
            "discount_amounts": [], "discountable": true, "discounts": [], "invoice": null, "invoice_item": null, "livemode": false,
            "metadata": {}, "period": {"end": period_end, "start": created}, "plan": null, "price": null, "proration": false,
            "proration_details": {"credited_items": null}, "quantity": 1, "subscription": null, "subscription_item": null,
            "tax_amounts": [], "tax_rates": [], "type": "invoiceitem", "unit_amount_excluding_tax": "1000",
        }),
        ("invoice_items", _) => json!({
            "id": id, "object": "invoiceitem", "amount": 1000, "currency": "usd", "customer": null, "date": created, "description": null,
            "discountable": true, "discounts": [], "invoice": null, "livemode": false, "metadata": {},
            "period": {"end": created, "start": created}, "plan": null, "price": null, "proration": false, "quantity": 1,
            "subscription": null, "tax_rates": [], "test_clock": null, "unit_amount": 1000, "unit_amount_decimal": "1000",
        }),
        ("subscriptions", _) => json!({
            "id": id, "object": "subscription", "application": null, "application_fee_percent": null,
            "automatic_tax": {"enabled": false, "liability": null}, "billing_cycle_anchor": created, "billing_cycle_anchor_config": null,
            "billing_thresholds": null, "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null,
            "cancellation_details": {"comment": null, "feedback": null, "reason": null}, "collection_method": "charge_automatically",
            "created": created, "currency": "usd", "current_period_end": period_end, "current_period_start": created, "customer": null,
            "days_until_due": null, "default_payment_method": null, "default_source": null, "default_tax_rates": [], "description": null,
            "discount": null, "discounts": [], "ended_at": null, "invoice_settings": {"account_tax_ids": null, "issuer": {"type": "self"}},
            "latest_invoice": null, "livemode": false, "metadata": {}, "next_pending_invoice_item_invoice": null, "on_behalf_of": null,
            "pause_collection": null,
            "payment_settings": {"payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off"},
            "pending_invoice_item_interval": null, "pending_setup_intent": null, "pending_update": null, "plan": null, "quantity": 1,
            "schedule": null, "start_date": created, "status": "active", "test_clock": null, "transfer_data": null, "trial_end": null,
            "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}}, "trial_start": null,
        }),
        ("subscription_items", _) => json!({
            "id": id, "object": "subscription_item", "billing_thresholds": null, "created": created, "discounts": [], "metadata": {},
            "plan": null, "price": null, "quantity": 1, "subscription": null, "tax_rates": [],
        }),
        ("products", _) => json!({
            "id": id, "object": "product", "active": true, "attributes": [], "created": created, "default_price": null, "description": null,
            "images": [], "livemode": false, "marketing_features": [], "metadata": {}, "name": "Product", "package_dimensions": null,
            "shippable": null, "statement_descriptor": null, "tax_code": null, "type": "service", "unit_label": null, "updated": created,
            "url": null,
        }),
        ("plans", _) => json!({
            "id": id, "object": "plan", "active": true, "aggregate_usage": null, "amount": 2000, "amount_decimal": "2000",
            "billing_scheme": "per_unit", "created": created, "currency": "usd", "interval": "month", "interval_count": 1,
            "livemode": false, "metadata": {}, "meter": null, "nickname": null, "product": null, "tiers_mode": null,
            "transform_usage": null, "trial_period_days": null, "usage_type": "licensed",
        }),
        ("prices", _) => json!({
            "id": id, "object": "price", "active": true, "billing_scheme": "per_unit", "created": created, "currency": "usd",
            "custom_unit_amount": null, "livemode": false, "lookup_key": null, "metadata": {}, "nickname": null, "product": null,
            "recurring": {"aggregate_usage": null, "interval": "month", "interval_count": 1, "meter": null, "trial_period_days": null, "usage_type": "licensed"},
            "tax_behavior": "unspecified", "tiers_mode": null, "transform_quantity": null, "type": "recurring", "unit_amount": 2000,
            "unit_amount_decimal": "2000",
        }),
        ("coupons", _) => json!({
            "id": id, "object": "coupon", "amount_off": null, "created": created, "currency": null, "duration": "once",
            "duration_in_months": null, "livemode": false, "max_redemptions": null, "metadata": {}, "name": null, "percent_off": 25.5,
            "redeem_by": null, "times_redeemed": 0, "valid": true,
        }),
        ("disputes", _) => {
            let mut evidence = json!({});
            for name in [
                "access_activity_log",
                "billing_address",
                "cancellation_policy",
                "cancellation_policy_disclosure",
                "cancellation_rebuttal",
                "customer_communication",
                "customer_email_address",
                "customer_name",
                "customer_purchase_ip",
                "customer_signature",
                "duplicate_charge_documentation",
                "duplicate_charge_explanation",
                "duplicate_charge_id",
                "product_description",
                "receipt",
                "refund_policy",
                "refund_policy_disclosure",
                "refund_refusal_explanation",
                "service_date",
                "service_documentation",
                "shipping_address",
                "shipping_carrier",
                "shipping_date",
                "shipping_documentation",
                "shipping_tracking_number",
                "uncategorized_file",
                "uncategorized_text",
            ] {
                evidence[name] = Value::Null;
            }
            json!({
                "id": id, "object": "dispute", "amount": 1000, "balance_transaction": null, "balance_transactions": [], "charge": null,
                "created": created, "currency": "usd", "evidence": evidence,
                "evidence_details": {"due_by": created + 7 * 86_400, "has_evidence": false, "past_due": false, "submission_count": 0},
                "is_charge_refundable": true, "livemode": false, "metadata": {}, "payment_intent": null,
                "payment_method_details": {"card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"}, "type": "card"},
                "reason": "general", "status": "needs_response",
            })
        }
        ("payment_intents", _) => json!({
            "id": id, "object": "payment_intent", "amount": 2000, "amount_capturable": 0, "amount_details": {"tip": {}},
            "amount_received": 0, "application": null, "application_fee_amount": null, "automatic_payment_methods": null,
            "canceled_at": null, "cancellation_reason": null, "capture_method": "automatic",
            "client_secret": format!("{id}_secret_simulated"), "confirmation_method": "automatic", "created": created, "currency": "usd",
            "customer": null, "description": null, "invoice": null, "last_payment_error": null, "latest_charge": null, "livemode": false,
            "metadata": {}, "next_action": null, "on_behalf_of": null, "payment_method": null,
            "payment_method_configuration_details": null,
            "payment_method_options": {"card": {"installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"], "processing": null, "receipt_email": null, "review": null, "setup_future_usage": null,
            "shipping": null, "source": null, "statement_descriptor": null, "statement_descriptor_suffix": null,
            "status": "requires_payment_method", "transfer_data": null, "transfer_group": null,
        }),
        ("payment_methods", _) => json!({
            "id": id, "object": "payment_method", "allow_redisplay": "unspecified",
            "billing_details": {"address": no_address(), "email": null, "name": null, "phone": null},
            "card": {"brand": "visa", "checks": {"address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass"},
                "country": "US", "display_brand": "visa", "exp_month": 8, "exp_year": 2030, "fingerprint": tail(id, 16), "funding": "credit",
                "generated_from": null, "last4": "4242", "networks": {"available": ["visa"], "preferred": null},
                "three_d_secure_usage": {"supported": true}, "wallet": null},
            "created": created, "customer": null, "livemode": false, "metadata": {}, "radar_options": {}, "type": "card",
        }),
        ("refunds", _) => json!({
            "id": id, "object": "refund", "amount": 100, "balance_transaction": null, "charge": null, "created": created, "currency": "usd",
            "destination_details": {"card": {"reference": null, "reference_status": "pending", "reference_type": "acquirer_reference_number",
                "type": "refund"}, "type": "card"},
            "metadata": {}, "payment_intent": null, "reason": null, "receipt_number": null, "source_transfer_reversal": null,
            "status": "succeeded", "transfer_reversal": null,
        }),
        ("application_fees", _) => json!({
            "id": id, "object": "application_fee", "account": null, "amount": 100, "amount_refunded": 0, "application": "ca_simulator",
            "balance_transaction": null, "charge": null, "created": created, "currency": "usd", "fee_source": null, "livemode": false,
            "originating_transaction": null, "refunded": false,
        }),
        ("application_fee_refunds", _) => json!({
            "id": id, "object": "fee_refund", "amount": 100, "balance_transaction": null, "created": created, "currency": "usd", "fee": null,
            "metadata": {},
        }),
        ("balance_transactions", _) => json!({
            "id": id, "object": "balance_transaction", "amount": 2000, "available_on": created + 2 * 86_400, "created": created,
            "currency": "usd", "description": null, "exchange_rate": null, "fee": 88,
            "fee_details": [{"amount": 88, "application": null, "currency": "usd", "description": "Stripe processing fees", "type": "stripe_fee"}],
            "net": 1912, "reporting_category": "charge", "source": null, "status": "available", "type": "charge",
        }),
        ("sources", "bank_account") => json!({
            "id": id, "object": "bank_account", "account_holder_name": null, "account_holder_type": "company", "account_type": null,
            "bank_name": "STRIPE TEST BANK", "country": "US", "currency": "usd", "customer": null, "fingerprint": tail(id, 16),
            "last4": "6789", "metadata": {}, "routing_number": "110000000", "status": "new",
        }),
        ("sources", _) => json!({
            "id": id, "object": "card", "address_city": null, "address_country": null, "address_line1": null, "address_line1_check": null,
            "address_line2": null, "address_state": null, "address_zip": null, "address_zip_check": null, "brand": "Visa", "country": "US",
            "customer": null, "cvc_check": "pass", "dynamic_last4": null, "exp_month": 8, "exp_year": 2030, "fingerprint": tail(id, 16),
            "funding": "credit", "last4": "4242", "metadata": {}, "name": null, "tokenization_method": null, "wallet": null,
        }),
        ("tax_rates", _) => json!({
            "id": id, "object": "tax_rate", "active": true, "country": "DE", "created": created, "description": null, "display_name": "VAT",
            "effective_percentage": 19.0, "inclusive": false, "jurisdiction": "DE", "jurisdiction_level": "country", "livemode": false,
            "metadata": {}, "percentage": 19.0, "state": null, "tax_type": "vat",
        }),
        ("transfers", _) => json!({
            "id": id, "object": "transfer", "amount": 1100, "amount_reversed": 0, "balance_transaction": null, "created": created,
            "currency": "usd", "description": null, "destination": "acct_1SimDestination", "destination_payment": format!("py_{}", tail(id, 20)),
            "livemode": false, "metadata": {}, "reversed": false, "source_transaction": null, "source_type": "card", "transfer_group": null,
        }),
        ("transfer_reversals", _) => json!({
            "id": id, "object": "transfer_reversal", "amount": 100, "balance_transaction": null, "created": created, "currency": "usd",
            "destination_payment_refund": null, "metadata": {}, "source_refund": null, "transfer": null,
        }),
        ("payouts", _) => json!({
            "id": id, "object": "payout", "amount": 1100, "application_fee": null, "application_fee_amount": null,
            "arrival_date": created + 2 * 86_400, "automatic": true, "balance_transaction": null, "created": created, "currency": "usd",
            "description": "STRIPE PAYOUT", "destination": format!("ba_{}", tail(id, 20)), "failure_balance_transaction": null,
            "failure_code": null, "failure_message": null, "livemode": false, "metadata": {}, "method": "standard", "original_payout": null,
            "reconciliation_status": "completed", "reversed_by": null, "source_type": "card", "statement_descriptor": null,
            "status": "paid", "type": "bank_account",
        }),
        _ => json!({"id": id, "object": object, "created": created}),
    }
}

/// The account itself, as `/v1/account` shows it.
pub fn account(id: &str, created: i64) -> Value {
    let requirements = json!({"alternatives": [], "current_deadline": null, "currently_due": [], "disabled_reason": null, "errors": [],
        "eventually_due": [], "past_due": [], "pending_verification": []});
    json!({
        "id": id, "object": "account",
        "business_profile": {"annual_revenue": null, "estimated_worker_count": null, "mcc": "5734", "name": "cloudsync simulator",
            "product_description": null, "support_address": no_address(), "support_email": "help@sim.example", "support_phone": null,
            "support_url": null, "url": "https://sim.example"},
        "business_type": "company", "capabilities": {"card_payments": "active", "transfers": "active"}, "charges_enabled": true,
        "controller": {"type": "account"}, "country": "US", "created": created, "default_currency": "usd", "details_submitted": true,
        "email": "owner@sim.example",
        "external_accounts": {"object": "list", "data": [], "has_more": false, "url": format!("/v1/accounts/{id}/external_accounts")},
        "future_requirements": requirements, "metadata": {}, "payouts_enabled": true, "requirements": requirements,
        "settings": {"bacs_debit_payments": {"display_name": null, "service_user_number": null},
            "branding": {"icon": null, "logo": null, "primary_color": null, "secondary_color": null},
            "card_payments": {"decline_on": {"avs_failure": true, "cvc_failure": true}, "statement_descriptor_prefix": null},
            "dashboard": {"display_name": "cloudsync simulator", "timezone": "Etc/UTC"}, "invoices": {"default_account_tax_ids": null},
            "payments": {"statement_descriptor": "CLOUDSYNC SIM", "statement_descriptor_kana": null, "statement_descriptor_kanji": null},
            "payouts": {"debit_negative_balances": true, "schedule": {"delay_days": 2, "interval": "daily"}, "statement_descriptor": null},
            "sepa_debit_payments": {}},
        "tos_acceptance": {"date": created, "ip": null, "user_agent": null}, "type": "standard",
    })
}

/// The last `length` characters of an id, for members that look like ids.
fn tail(id: &str, length: usize) -> String {
    let start = id.len().saturating_sub(length);
    id.get(start..).unwrap_or(id).to_string()
}
