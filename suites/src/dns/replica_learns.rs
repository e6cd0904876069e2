//! Every DNS replica learns of a new service, and forgets it again: its view of the cluster is alive.

use super::replica::Watch;
use crate::kit::{
    dns::{
        question::{Answer, Expected},
        zone::Zone,
    },
    needs, next_steps, unique_name,
    wait::Waited,
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, DnsReplica, Needs, ObjectRef, Scope, Tally, Unit, Verdict,
};
use serde_json::{Value, json};
use std::{net::IpAddr, time::Duration};

/// A change of the cluster's services, seen by every replica.
pub struct ReplicaLearns;

/// A replica watches the API and has nothing cached of a name never asked for before.
const LEARN: Duration = Duration::from_secs(15);
/// Caches keep an answer for up to 30 s (the default of CoreDNS for the cluster domain), and some time to notice.
const FORGET: Duration = Duration::from_secs(45);

/// A Service that selects nothing; its cluster IP is all that DNS needs.
fn manifest(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"meshproof.dev/selects": "nothing"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    })
}

#[async_trait]
impl Check for ReplicaLearns {
    fn id(&self) -> CheckId {
        CheckId::from("dns::replica_learns")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every DNS replica learns of a new service and forgets it again",
            proves: "Each replica's watch of the API is alive: none serves a state from before its watch broke, which \
                     would go unnoticed until something changes.",
            how: "A service with a random name is created in the run's own namespace. Each DNS pod is asked for it at \
                  its own address until it answers with exactly the new cluster IP, within 15 s. Then the service is \
                  deleted, and each replica is asked until it answers NXDOMAIN, within 45 s (caches may keep the \
                  answer for 30 s). An answer must hold for two reads. Both times are recorded for each replica.",
            control: "The name was never used before, so the answer can only come from the change. A second name that \
                      is never created must get NXDOMAIN from the same replica.",
            when_red: "The finding names the pod: `kubectl --context CONTEXT -n DNS_NAMESPACE logs POD --tail=50` \
                       (watch or list errors?), then delete that pod. All replicas: the DNS server may not list \
                       services any more; `kubectl --context CONTEXT auth can-i list services --as \
                       system:serviceaccount:DNS_NAMESPACE:ACCOUNT` with the account of its pods.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::CHANGING
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-replica-stale"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let zone = match Zone::of(context) {
            Ok(zone) => zone,
            Err(verdict) => return verdict,
        };
        let cluster = context.instance.from();
        let namespace = match zone.service(context, "server") {
            Ok(service) => service.namespace,
            Err(verdict) => return verdict,
        };
        if let Err(why) = zone.replicas() {
            return Verdict::inconclusive(why);
        }
        let name = unique_name::label("learn");
        let object = ObjectRef::namespaced("v1", "Service", &namespace, &name);
        let created = match context.environment.apply(cluster, manifest(&namespace, &name)).await {
            Ok(created) => created,
            Err(error) => return Verdict::inconclusive(format!("the new service could not be created: {error}")),
        };
        let mut tally = Tally::new();
        zone.note_missing(&mut tally);
        let address = created
            .pointer("/spec/clusterIP")
            .and_then(Value::as_str)
            .and_then(|ip| ip.parse().ok());
        let absolute = zone.absolute(&namespace, &name);
        let sibling = zone.absolute(&namespace, &unique_name::label("never"));
        let learnt = match address {
            Some(address) => learn(context, &zone, (&absolute, &sibling), address, &mut tally).await,
            None => {
                tally.unknown("the API assigned no cluster IP to the new service");
                Vec::new()
            }
        };
        match context.environment.delete(cluster, &object).await {
            Ok(()) => {
                if let Some(address) = address {
                    forget(context, &zone, &absolute, address, &learnt, &mut tally).await;
                }
            }
            Err(error) => tally.unknown(format!("the new service could not be deleted: {error}")),
        }
        if tally.has_findings() {
            for replica in &zone.dns.replicas {
                let command = format!("-n {} logs {} --tail=50", zone.dns.service.0, replica.pod);
                context.suggest(next_steps::kubectl(&zone.facts, cluster, &command));
            }
        }
        tally.verdict()
    }
}

/// Waits for every replica to learn of the name; returns those that did.
async fn learn<'a>(
    context: &CheckContext,
    zone: &'a Zone,
    (name, sibling): (&str, &str),
    address: IpAddr,
    tally: &mut Tally,
) -> Vec<&'a DnsReplica> {
    let waits = join_all(zone.dns.replicas.iter().map(|replica| async move {
        let watch = |name| Watch {
            context,
            zone,
            replica,
            name,
            address,
        };
        let learnt = watch(name).until(Expected::address(address), LEARN).await;
        let control = watch(sibling).shows(&Expected::Absent).await;
        (replica, learnt, control)
    }))
    .await;
    let mut known = Vec::new();
    for (replica, learnt, control) in waits {
        let subject = format!("replica {}", replica.pod);
        let expected = format!(
            "the new service's address {address} within {} s of its creation",
            LEARN.as_secs()
        );
        match learnt {
            Waited::Seen(after, ()) => {
                context.measure(
                    "learns_after",
                    &replica.pod,
                    after.as_secs_f64() * 1000.0,
                    Unit::Milliseconds,
                );
                tally.witness(format!(
                    "{subject} resolved the new service after {} ms",
                    after.as_millis()
                ));
                known.push(replica);
            }
            Waited::GaveUp(Answer::Unknown(why)) => tally.unknown(format!("{subject}: {why}")),
            Waited::GaveUp(last) => tally.finding(&subject, expected, format!("still {}", describe(&last))),
        }
        match control {
            Ok(()) => {}
            Err(Answer::Unknown(why)) => tally.unknown(format!("{subject}, control: {why}")),
            Err(Answer::NoAnswer(_)) => {}
            Err(other) => tally.finding(
                format!("{subject}, control"),
                "NXDOMAIN for a second name that was never created",
                describe(&other),
            ),
        }
    }
    known
}

async fn forget(
    context: &CheckContext,
    zone: &Zone,
    name: &str,
    address: IpAddr,
    known: &[&DnsReplica],
    tally: &mut Tally,
) {
    let waits = join_all(known.iter().map(|replica| async move {
        let watch = Watch {
            context,
            zone,
            replica,
            name,
            address,
        };
        (replica, watch.until(Expected::Absent, FORGET).await)
    }))
    .await;
    for (replica, forgotten) in waits {
        let subject = format!("replica {}", replica.pod);
        match forgotten {
            Waited::Seen(after, ()) => {
                context.measure(
                    "forgets_after",
                    &replica.pod,
                    after.as_secs_f64() * 1000.0,
                    Unit::Milliseconds,
                );
                tally.witness(format!(
                    "{subject} answered NXDOMAIN {} ms after the service was deleted",
                    after.as_millis()
                ));
            }
            Waited::GaveUp(Answer::Unknown(why)) => tally.unknown(format!("{subject}: {why}")),
            Waited::GaveUp(last) => tally.finding(
                subject,
                format!("NXDOMAIN within {} s of the service's deletion", FORGET.as_secs()),
                format!("still {}", describe(&last)),
            ),
        }
    }
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Ok(_) => "the right answer".to_owned(),
        Answer::NoAnswer(what) | Answer::Mismatch(what) | Answer::Unknown(what) => what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, dns_answer, infra, timeout};
    use meshproof_contract::Action;

    #[tokio::test(start_paused = true)]
    async fn replicas_that_follow_are_green_and_timed() {
        let fake =
            Fake::healthy().replica_follows("coredns-2", Some(Duration::from_secs(4)), Some(Duration::from_secs(29)));
        let text = fake.expect(&ReplicaLearns, infra(), "pass").await;
        assert!(
            text.contains("replica coredns-2 resolved the new service after 4000 ms"),
            "{text}"
        );
        assert!(
            text.contains("learns_after") && text.contains("forgets_after"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_replica_is_red_and_named() {
        let fake = Fake::healthy().replica_follows("coredns-2", None, None);
        let text = fake.expect(&ReplicaLearns, infra(), "fail").await;
        assert!(
            text.contains("finding: replica coredns-2") && !text.contains("finding: replica coredns-1"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_never_forgets_is_red() {
        let fake = Fake::healthy().replica_follows("coredns-1", Some(Duration::ZERO), None);
        let text = fake.expect(&ReplicaLearns, infra(), "fail").await;
        assert!(
            text.contains("NXDOMAIN within 45 s of the service's deletion"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wildcard_or_a_silent_replica_is_red() {
        let address = "10.96.0.99".parse().expect("address");
        Fake::healthy()
            .rule(move |_| Some(dns_answer(address)))
            .expect(&ReplicaLearns, infra(), "fail")
            .await;
        Fake::healthy()
            .rule(|_| Some(timeout()))
            .expect(&ReplicaLearns, infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_node_that_cannot_reach_a_replica_does_not_make_it_stale() {
        let fake = Fake::healthy()
            .rule(|p| (p.from.node.as_str() == "infra-3" && matches!(p.action, Action::Dns { .. })).then(timeout));
        fake.expect(&ReplicaLearns, infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_dns_or_the_new_service_it_is_inconclusive() {
        let fakes = [
            Fake::healthy().apply_refused(),
            Fake::healthy().facts(|f| f.clusters[0].dns = None),
        ];
        for fake in fakes {
            fake.expect(&ReplicaLearns, infra(), "inconclusive").await;
        }
    }
}
