//! The certificates in Cilium's Secrets are valid for long enough.

use super::{
    inventory::{AGENT, Inventory, cilium, text},
    looks::{Seen, report},
    validity::{Validity, from_base64, read_pem},
};
use crate::kit::recent::Age;
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, EnvironmentError, ObjectRef, Scope, Unit, Verdict,
    cilium::CERTIFICATE_SECRETS,
};
use serde_json::Value;

/// Certificates in Secrets.
pub struct Certificates;

/// Keys of those Secrets that hold certificates; the others hold private keys, and are not looked at.
const KEYS: [&str; 2] = ["ca.crt", "tls.crt"];
const SECONDS_A_DAY: i64 = 86_400;

#[async_trait]
impl Check for Certificates {
    fn id(&self) -> CheckId {
        CheckId::from("components::certificates")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "The certificates of Cilium, Hubble and the mesh are valid for longer than certificateAge",
            proves: "No certificate that Cilium's chart or cert-manager made ends soon: Hubble relay would lose the \
                     agents, and the mesh its clusters, at the next restart.",
            how: "The certificates in the Secrets of Cilium's chart are read (their validity only), if the run may \
                  read them; each must end later than `thresholds.certificateAge` (default 7 days) from now. What is \
                  served to the mesh is verified by mesh::certificates in any case.",
            control: "At least one certificate must be read; otherwise the check is inconclusive, and skipped where \
                      the Secrets may not be read.",
            when_red: "`kubectl --context CONTEXT -n kube-system get secrets` shows their ages. `helm upgrade` or the \
                       jobs hubble-generate-certs and clustermesh-apiserver-generate-certs renew them, or \
                       cert-manager; then restart relay and agents: `kubectl --context CONTEXT -n \
                       kube-system rollout restart \
                       deploy/hubble-relay ds/cilium`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["hubble-certificate-expiring"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let cluster = context.instance.from();
        if cilium(context, cluster).is_none() {
            return Verdict::skipped(format!(
                "{cluster} has no ConfigMap cilium-config, so no Cilium to look at"
            ));
        }
        let namespace = namespace(context).await;
        let reading = CERTIFICATE_SECRETS.map(|name| read(context, &namespace, name));
        let read = futures::future::join_all(reading).await;
        if read
            .iter()
            .all(|one| matches!(one, Err(EnvironmentError::Forbidden { .. })))
        {
            return Verdict::skipped(format!(
                "the Secrets of {cluster} may not be read (`meshproof rbac` prints the rule); mesh::certificates \
                 verifies what is served"
            ));
        }
        // A certificate does not change by itself: one look is enough.
        report(context, judge_all(context, &namespace, read))
    }
}

/// Cilium's namespace: its agents'.
async fn namespace(context: &CheckContext) -> String {
    let inventory = Inventory::read(context, Age::STATE, &mut Seen::default()).await;
    let agents = inventory.and_then(|all| Some(all.of(&AGENT).next()?.namespace.clone()));
    agents.unwrap_or_else(|| "kube-system".to_owned())
}

async fn read(context: &CheckContext, namespace: &str, name: &str) -> Result<Option<Value>, EnvironmentError> {
    let secret = ObjectRef::namespaced("v1", "Secret", namespace, name);
    context.environment.get(context.instance.from(), &secret).await
}

fn judge_all(context: &CheckContext, namespace: &str, read: Vec<Result<Option<Value>, EnvironmentError>>) -> Seen {
    let mut seen = Seen::default();
    let mut ends = Vec::new();
    for (name, read) in CERTIFICATE_SECRETS.into_iter().zip(read) {
        match read {
            Ok(Some(secret)) => {
                for key in KEYS {
                    ends.extend(judge(context, namespace, &secret, name, key, &mut seen));
                }
            }
            Ok(None) => seen.note(format!("there is no Secret {namespace}/{name}")),
            Err(error) => seen.unknown(format!("Secret {namespace}/{name} cannot be read: {error}")),
        }
    }
    if let Some(least) = ends.iter().min() {
        context.measure(
            "secrets_valid_days",
            "certificates in Secrets",
            *least as f64,
            Unit::Count,
        );
        let number = ends.len();
        seen.witness(format!(
            "{number} certificates of Cilium are valid now, the first to end for {least} days"
        ));
    }
    seen
}

/// Judges one certificate of a Secret; for how many days it is valid if that is enough.
fn judge(
    context: &CheckContext,
    namespace: &str,
    secret: &Value,
    name: &str,
    key: &str,
    seen: &mut Seen,
) -> Option<i64> {
    let written = text(&secret["data"][key]);
    if written.is_empty() {
        return None;
    }
    let pem = from_base64(written).and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(validities) = pem.and_then(|pem| read_pem(&pem)) else {
        seen.unknown(format!(
            "{key} of Secret {namespace}/{name} is not a certificate that can be read"
        ));
        return None;
    };
    let now = Timestamp::now();
    let least = context.environment.facts().thresholds.certificate_age;
    let subject = format!("Secret {namespace}/{name}, {key}");
    let command = format!("-n {namespace} get secret {name} --show-managed-fields -o yaml");
    let Validity { not_after, .. } = validities.iter().min_by_key(|one| one.not_after)?;
    let days = (not_after.as_second() - now.as_second()).div_euclid(SECONDS_A_DAY);
    if let Some(early) = validities.iter().find(|one| one.not_before > now) {
        let observed = format!("it is valid from {}", early.not_before);
        seen.deviates(subject, "a certificate that is valid now", observed, command);
        None
    } else if not_after.as_second() - now.as_second() < least.as_secs() as i64 {
        let expected = format!("valid for at least {} days", least.as_secs() / SECONDS_A_DAY as u64);
        let observed = if days < 0 {
            format!("it ended on {not_after}")
        } else {
            format!("it ends on {not_after}, in {days} days")
        };
        seen.deviates(subject, expected, observed, command);
        None
    } else {
        Some(days)
    }
}
