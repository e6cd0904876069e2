//! TokenRequest: `serviceaccounts/<name>/token`.

use super::{body, call::Call, path::ResolvedPath, render};
use crate::{
    error::{ApiError, Cause},
    resource::names::SERVICE_ACCOUNTS,
    time,
};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// What Kubernetes gives when the client does not say, in seconds.
const USUAL: i64 = 3600;
/// The shortest that Kubernetes gives, in seconds.
const SHORTEST: i64 = 600;

pub(crate) async fn answer(call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let account = call.api.store.get(&SERVICE_ACCOUNTS, path.namespace, path.name()?)?;
    let mut request = body::object(call.request).await?;
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(USUAL);
    if seconds < SHORTEST {
        let value = json!(seconds);
        let cause = Cause::invalid(
            "spec.expirationSeconds",
            &value,
            "may not specify a duration less than 10 minutes",
        );
        return Err(ApiError::invalid(path.def, account.name(), vec![cause]));
    }
    let given = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str());
    let mut audiences: Vec<String> = given.map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push("https://kubernetes.default.svc".to_owned());
    }
    let expires = Timestamp::now() + SignedDuration::from_secs(seconds.min(10 * 365 * 24 * 3600));
    let token = call.api.tokens.issue_for_account(&account, &audiences, expires);
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["metadata"] = json!({"name": account.name(), "namespace": account.namespace(), "creationTimestamp": null});
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["status"] = json!({"token": token, "expirationTimestamp": time::at(expires)});
    Ok(render::value(201, &request))
}
