//! Decides how the allowance is told: in percent by headers on every reply, and by error codes when it is spent.

use serde_json::json;

use super::errors::Refusal;
use super::VERSIONS;
use crate::app::Call;
use crate::http::Reply;

/// Whether there were too many calls, and by which code it is told.
pub fn check(call: &Call<'_>, path: &[&str]) -> Result<(), Refusal> {
    let quota = call.config.number("call_quota");
    if !call.is_over_rate && (quota <= 0 || call.calls <= quota as u64) {
        return Ok(());
    }
    let code = match call.config.number("rate_error") {
        0 if path.last() == Some(&"insights") => 80000,
        0 if path.first().is_some_and(|id| id.starts_with("act_")) => 80004,
        0 => 17,
        code => code as u32,
    };
    Err(Refusal::too_many_calls(code))
}

/// The headers that say how much of the allowance is spent.
pub fn tell(call: &Call<'_>, reply: Reply) -> Reply {
    let quota = call.config.number("call_quota").max(0) as u64;
    let percent = (call.calls * 100).checked_div(quota).unwrap_or(call.calls / 100).min(100);
    let is_blocked = reply.status != 200 && percent >= 100 || call.is_over_rate;
    let regain = if is_blocked { call.config.number("regain_minutes") } else { 0 };
    let app = json!({"call_count": percent, "total_cputime": percent / 4, "total_time": percent / 4});
    let reply =
        reply.with("x-app-usage", app.to_string()).with("facebook-api-version", format!("v{}.0", VERSIONS.end()));
    let path = &call.request.path;
    let Some(account) = path.split('/').find_map(|part| part.strip_prefix("act_")) else { return reply };
    let is_insights = path.ends_with("/insights");
    let tier = "standard_access";
    let case = json!({
        "type": if is_insights { "ads_insights" } else { "ads_management" }, "call_count": percent,
        "total_cputime": percent / 4, "total_time": percent / 4, "estimated_time_to_regain_access": regain,
        "ads_api_access_tier": tier,
    });
    let reply = reply.with("x-business-use-case-usage", json!({account: [case]}).to_string());
    if is_insights {
        let throttle = json!({"app_id_util_pct": percent, "acc_id_util_pct": percent, "ads_api_access_tier": tier});
        return reply.with("x-fb-ads-insights-throttle", throttle.to_string());
    }
    let own = json!({"acc_id_util_pct": percent, "reset_time_duration": regain * 60, "ads_api_access_tier": tier});
    reply.with("x-ad-account-usage", own.to_string())
}
