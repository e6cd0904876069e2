//! What an admission controller says when it refuses an object, without what differs from one object to the next.

/// How the controllers of Kubernetes begin their reason, after the object's name.
const CONTROLLERS: [&str; 8] = [
    "exceeded quota: ",
    "failed quota: ",
    "violates PodSecurity ",
    "admission webhook ",
    "ValidatingAdmissionPolicy ",
    "maximum ",
    "minimum ",
    "[m",
];

/// The reason of an admission controller; none where something else refused, such as RBAC. Of a quota only its name
/// stays: what is used changes with each pod.
pub(crate) fn refusal(message: &str) -> Option<String> {
    let reason = message
        .split_once("is forbidden: ")
        .map_or(message, |(_, reason)| reason);
    if !CONTROLLERS.iter().any(|controller| reason.starts_with(controller)) {
        return None;
    }
    let kept = match reason.strip_prefix("exceeded quota: ") {
        Some(rest) => format!("exceeded quota: {}", rest.split(',').next().unwrap_or(rest)),
        None => reason.to_owned(),
    };
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reason_stays_and_rbac_is_none() {
        let quota = "pods \"connectivity-client-x7k2p\" is forbidden: exceeded quota: house, requested: pods=1, used: \
                     pods=5, limited: pods=5";
        assert_eq!(refusal(quota).as_deref(), Some("exceeded quota: house"));
        let webhook = "admission webhook \"validate.kyverno.svc-fail\" denied the request: no NodePort";
        assert_eq!(refusal(webhook).as_deref(), Some(webhook));
        let policy = "services \"svc-1\" is forbidden: ValidatingAdmissionPolicy 'no-node-port' with binding 'all' \
                      denied request: no NodePort";
        assert!(refusal(policy).is_some_and(|reason| reason.starts_with("ValidatingAdmissionPolicy 'no-node-port'")));
        let rbac = "services is forbidden: User \"x\" cannot list resource \"services\" in API group \"\"";
        assert_eq!(refusal(rbac), None);
    }
}
