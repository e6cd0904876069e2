//! New connections into the mesh could be made now, with certificates that last.

use super::STATUS_NEEDS;
use crate::kit::{
    cilium::{dsr, remotes},
    known_fault::MESH_API_SERVER_BY_DSR,
    next_steps,
};
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumAnswer, CiliumQuery, ClusterName, Needs, Scope, Tally, Unit,
    Verdict,
    cilium::troubleshoot::{Section, sections},
};
use std::{collections::BTreeSet, time::Duration};

/// Certificates and new connections.
pub struct Certificates;

/// A failed connection is tried again: an etcd that is starting refuses for some seconds.
const RETRY_AFTER: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 3;
const SECONDS_A_DAY: i64 = 86_400;

#[async_trait]
impl Check for Certificates {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::certificates")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Agents and KVStoreMesh can open new connections to the mesh, with certificates that last",
            proves: "The existing connections could be established again after a restart: the name resolves, both \
                     sides accept TLS, and etcd answers. No certificate in use expires within \
                     `thresholds.certificateAge`.",
            how: "`cilium-dbg troubleshoot clustermesh` in every agent and `clustermesh-apiserver kvstoremesh-dbg \
                  troubleshoot` in every KVStoreMesh open a new connection to every remote and print the \
                  certificates. No step may fail three times, 3 s apart, and every `Not after` must be farther \
                  away than `thresholds.certificateAge` (7 days by default).",
            control: "For every expected remote the output must show an established TLS connection and certificates; \
                      otherwise the check is inconclusive.",
            when_red: "The line with ❌ says which step failed; see `kubectl --context CONTEXT -n kube-system get \
                       secrets | grep clustermesh`. `helm upgrade` or job clustermesh-apiserver-generate-certs renews \
                       Helm's certificates; \"unknown authority\" means that the clusters do not share or exchange \
                       their CA. etcd times out and the clustermesh-apiserver is reached by NodePort or LoadBalancer: \
                       DSR with WireGuard loses its replies; set `loadBalancer.mode: snat`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["mesh-certificate-expiring", "mesh-certificate-untrusted"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let (cilium, expected) = match remotes::joins(&facts, cluster) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        let mut timed_out = connect(context, cluster, CiliumQuery::Troubleshoot, &expected, &mut tally).await;
        if cilium.kvstoremesh {
            timed_out |= connect(
                context,
                cluster,
                CiliumQuery::TroubleshootKvstoreMesh,
                &expected,
                &mut tally,
            )
            .await;
        }
        if timed_out && facts.clusters.iter().any(|one| dsr::loses_replies(&facts, &one.name)) {
            MESH_API_SERVER_BY_DSR.tell(context, cluster);
        }
        if tally.has_findings() {
            let command = next_steps::in_agent(&facts, cluster, None, "cilium-dbg troubleshoot clustermesh");
            context.suggest(command);
        }
        tally.verdict()
    }
}

/// Asks every pod until nothing failed, or often enough, and judges the last answers. Whether a step of one timed out
/// at last.
async fn connect(
    context: &CheckContext,
    cluster: &ClusterName,
    query: CiliumQuery,
    expected: &BTreeSet<String>,
    tally: &mut Tally,
) -> bool {
    for attempt in 1..=ATTEMPTS {
        let answers = match context.environment.cilium(cluster, query).await {
            Ok(answers) => answers,
            Err(error) => {
                tally.unknown(error.to_string());
                return false;
            }
        };
        let mut judged = Tally::new();
        if answers.is_empty() {
            judged.unknown(format!("{cluster}: no pod reported its connections into the mesh"));
        }
        let limit = Limit {
            now: Timestamp::now(),
            least: context.environment.facts().thresholds.certificate_age,
        };
        let days: Vec<i64> = answers
            .iter()
            .filter_map(|answer| judge(cluster, answer, expected, limit, &mut judged))
            .collect();
        if attempt < ATTEMPTS && judged.has_findings() {
            tokio::time::sleep(RETRY_AFTER).await;
            continue;
        }
        if let Some(least) = days.into_iter().min() {
            let subject = match query {
                CiliumQuery::TroubleshootKvstoreMesh => "KVStoreMesh",
                _ => "agents",
            };
            context.measure("certificates_valid_days", subject, least as f64, Unit::Count);
        }
        tally.absorb(judged);
        return answers.iter().any(has_timed_out);
    }
    false
}

/// Whether a step of a pod's connections ended with Go's words for a deadline.
fn has_timed_out(answer: &CiliumAnswer) -> bool {
    let text = answer.output.as_ref().ok().and_then(|output| output.as_str());
    let failures = text
        .map(sections)
        .into_iter()
        .flatten()
        .flat_map(|section| section.failures);
    failures
        .into_iter()
        .any(|failure| failure.contains("deadline exceeded") || failure.contains("i/o timeout"))
}

/// Judges one pod's answer; for how many days its certificates are valid at least.
fn judge(
    cluster: &ClusterName,
    answer: &CiliumAnswer,
    expected: &BTreeSet<String>,
    limit: Limit,
    tally: &mut Tally,
) -> Option<i64> {
    let place = format!("{cluster}, {} on {}", answer.pod, answer.node);
    let text = match &answer.output {
        Ok(output) => output.as_str().unwrap_or_default(),
        Err(error) => {
            tally.unknown(format!("{place}: {error}"));
            return None;
        }
    };
    let found = sections(text);
    let mut shortest = None;
    for remote in expected {
        let Some(section) = found.iter().find(|section| section.cluster == *remote) else {
            tally.unknown(format!("{place}: it does not report its connection to {remote}"));
            continue;
        };
        let subject = format!("{place}: connection to {remote}");
        if let Some(days) = judge_section(section, &subject, limit, tally) {
            shortest = Some(shortest.map_or(days, |known: i64| known.min(days)));
        }
    }
    shortest
}

/// For how long certificates must be valid, from when.
#[derive(Clone, Copy)]
struct Limit {
    now: Timestamp,
    least: Duration,
}

fn judge_section(section: &Section, subject: &str, limit: Limit, tally: &mut Tally) -> Option<i64> {
    for failure in &section.failures {
        tally.finding(subject, "every step of a new connection succeeds", failure);
    }
    let left = |end: &Timestamp| end.as_second() - limit.now.as_second();
    let days = |end: &Timestamp| left(end).div_euclid(SECONDS_A_DAY);
    let (least_days, least_seconds) = (
        limit.least.as_secs() / SECONDS_A_DAY as u64,
        limit.least.as_secs() as i64,
    );
    for certificate in &section.certificates {
        if certificate.not_before > limit.now {
            tally.finding(
                subject,
                format!("the certificate of {} is valid now", certificate.subject),
                format!("it is valid from {}", certificate.not_before),
            );
        } else if left(&certificate.not_after) < least_seconds {
            tally.finding(
                subject,
                format!(
                    "the certificate of {} is valid for at least {least_days} days",
                    certificate.subject
                ),
                format!(
                    "it expires on {}, in {} days",
                    certificate.not_after,
                    days(&certificate.not_after)
                ),
            );
        }
    }
    let least = section
        .certificates
        .iter()
        .map(|certificate| days(&certificate.not_after))
        .min();
    match least {
        None => tally.unknown(format!("{subject}: the output shows no certificates")),
        Some(_) if !section.tls && section.failures.is_empty() => {
            tally.unknown(format!("{subject}: the output shows no TLS connection"));
        }
        Some(least) if section.failures.is_empty() => tally.witness(format!(
            "{subject}: a new connection was established; {} certificates are valid for at least {least} days",
            section.certificates.len()
        )),
        Some(_) => {}
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra};

    fn troubled(change: impl Fn(&str, String) -> String + Send + Sync + 'static) -> Fake {
        Fake::healthy().troubleshoot(change)
    }

    #[tokio::test(start_paused = true)]
    async fn new_connections_with_lasting_certificates_are_green() {
        let said = Fake::healthy().expect(&Certificates, infra(), "pass").await;
        assert!(
            said.contains("connection to apps: a new connection was established"),
            "{said}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_fails_for_good_and_a_certificate_that_ends_are_red() {
        let refused = troubled(|node, text| match node {
            "infra-2" => text.replace(
                "✅ TLS connection successfully established to",
                "❌ Cannot establish TLS connection to",
            ),
            _ => text,
        });
        let said = refused.expect(&Certificates, infra(), "fail").await;
        assert!(said.contains("on infra-2: connection to apps"), "{said}");
        let soon = (Timestamp::now() + jiff::SignedDuration::from_hours(5 * 24)).to_string();
        let soon = format!("{} {} +0000 UTC", &soon[..10], &soon[11..19]);
        let ends = troubled(move |_, text| text.replace("2099-11-20 09:14:23 +0000 UTC", &soon));
        let said = ends.expect(&Certificates, infra(), "fail").await;
        assert!(
            said.contains("CN=local-infra") && said.contains("it expires on"),
            "{said}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_shown_is_not_known() {
        for missing in ["Cluster \"apps\"", "Not after", "✅ TLS connection"] {
            let silent = troubled(move |_, text| text.replace(missing, "-"));
            silent.expect(&Certificates, infra(), "inconclusive").await;
        }
    }
}
