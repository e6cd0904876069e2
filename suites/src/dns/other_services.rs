//! Every Service of every namespace has its name: those of others, too.

use crate::kit::{
    dns::{
        ask::ask,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    needs, probes,
    recent::{self, Age},
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, DnsReplica, Needs, Scope, Tally, Transport, Verdict,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::time::sleep;

/// The names of all Services.
pub struct OtherServices;

/// So many Services are asked for at most, drawn from all.
const MOST: usize = 100;
/// What a change may take at least until every replica has it.
const LEAST_ALLOWANCE: Duration = Duration::from_secs(5);

/// Namespace and name.
type Name = (String, String);

#[async_trait]
impl Check for OtherServices {
    fn id(&self) -> CheckId {
        CheckId::from("dns::other_services")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every DNS replica knows every Service of every namespace by its cluster IP",
            proves: "No name that somebody's application depends on is missing, rewritten or out of date, on whatever \
                     replica.",
            how: "The client on one node asks each DNS pod at its own address for the absolute name of every Service \
                  with a cluster IP (100 of more, drawn by `--sample-seed`), over UDP. The answer must be exactly its \
                  cluster IPs of that family. After silence it asks six more times. What is wrong is asked for again \
                  `thresholds.propagation` (default 10 s) later, unless the Service changed meanwhile.",
            control: "The right answers for the other names; without any right answer the check is red. Services that \
                      cannot be listed make it inconclusive.",
            when_red: "One name: look for a rewrite, template or hosts entry in `kubectl --context CONTEXT -n \
                       DNS_NAMESPACE get configmaps -o yaml`. Several, of one replica: it no longer follows the API: \
                       `kubectl --context CONTEXT -n DNS_NAMESPACE logs POD --tail=50`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::SHARED
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-one-name-wrong"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let (Ok(verdict) | Err(verdict)) = observe(context).await;
        verdict
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let all = Zone::of(context)?;
    // Every node asks every replica in dns::replica_answers.
    let zone = Zone::asked_by(context, all.askers.into_iter().take(1).collect())?;
    let listed = addresses(context, Age::OfThisRun).await?;
    let wanted = drawn(context, &listed);
    let mut tally = Tally::new();
    ask(context, &zone, &questions(&zone, &wanted), &mut tally).await;
    if tally.has_findings() {
        let propagation = context.environment.facts().thresholds.propagation;
        sleep(propagation.max(LEAST_ALLOWANCE)).await;
        let now = addresses(context, Age::now()).await?;
        let same = |(name, addresses): &(&Name, &BTreeSet<IpAddr>)| now.get(*name) == Some(*addresses);
        let lasting = wanted
            .iter()
            .filter(same)
            .map(|(name, addresses)| (name.clone(), addresses.clone()));
        let lasting: BTreeMap<_, _> = lasting.collect();
        tally = Tally::new();
        ask(context, &zone, &questions(&zone, &lasting), &mut tally).await;
    }
    if wanted.is_empty() {
        tally.unknown(format!(
            "no Service with a cluster IP was found in {}",
            context.instance.from()
        ));
    }
    context.note(format!("asked for {} of {} Services", wanted.len(), listed.len()));
    Ok(tally.verdict())
}

/// The cluster IPs of every Service that has some.
async fn addresses(context: &CheckContext, age: Age) -> Result<BTreeMap<Name, BTreeSet<IpAddr>>, Verdict> {
    let cluster = context.instance.from();
    let services = recent::list(context, cluster, ("v1", "Service"), age).await;
    let services = services
        .map_err(|error| Verdict::inconclusive(format!("the Services of {cluster} cannot be listed: {error}")))?;
    let of = |service: &Value| {
        let (metadata, spec) = (&service["metadata"], &service["spec"]);
        if spec["type"] == "ExternalName" || !metadata["deletionTimestamp"].is_null() {
            return None;
        }
        let ips = spec["clusterIPs"]
            .as_array()
            .into_iter()
            .flatten()
            .chain([&spec["clusterIP"]]);
        let addresses: BTreeSet<IpAddr> = ips.filter_map(|ip| ip.as_str()?.parse().ok()).collect();
        let text = |key: &str| Some(metadata[key].as_str()?.to_owned());
        (!addresses.is_empty()).then_some(((text("namespace")?, text("name")?), addresses))
    };
    Ok(services.iter().filter_map(of).collect())
}

/// All of them, or so many in a row, the first of which the seed draws.
fn drawn(context: &CheckContext, all: &BTreeMap<Name, BTreeSet<IpAddr>>) -> BTreeMap<Name, BTreeSet<IpAddr>> {
    let seed = context.environment.facts().generation.sample_seed;
    let first = usize::try_from(seed).unwrap_or_default() % all.len().max(1);
    let in_turn = all.iter().cycle().skip(first).take(all.len().min(MOST));
    in_turn
        .map(|(name, addresses)| (name.clone(), addresses.clone()))
        .collect()
}

/// One question for each Service to each replica, or to the DNS Service where no replica is known.
fn questions(zone: &Zone, wanted: &BTreeMap<Name, BTreeSet<IpAddr>>) -> Vec<Question> {
    let replicas: Vec<Option<&DnsReplica>> = match zone.dns.replicas.as_slice() {
        [] => vec![None],
        replicas => replicas.iter().map(Some).collect(),
    };
    let mut all = Vec::new();
    for ((namespace, name), addresses) in wanted {
        let absolute = zone.absolute(namespace, name);
        let Some(first) = addresses.first() else { continue };
        let of_family = addresses.iter().filter(|address| address.is_ipv4() == first.is_ipv4());
        let expected: BTreeSet<IpAddr> = of_family.copied().collect();
        for replica in &replicas {
            let server = replica.map(|replica| SocketAddr::new(replica.address, replica.port));
            let by = replica.map_or_else(
                || "cluster DNS".to_owned(),
                |replica| format!("replica {}", replica.pod),
            );
            all.push(Question {
                label: format!("{absolute} of {by}"),
                probe: probes::dns(&absolute, address_record(*first), server, Transport::Udp),
                expected: Expected::Addresses(expected.clone()),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Fake, dns_answer, dns_records, infra, timeout};
    use meshproof_contract::{Action, Outcome};
    use serde_json::json;

    const ADDRESS: &str = "10.96.77.7";

    /// Clusters with a Service of somebody else, whose name DNS answers like this.
    fn world(answer: impl Fn(&Ask<'_>) -> Outcome + Send + Sync + 'static) -> Fake {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "demo", "name": "echo"},
            "spec": {"clusterIP": ADDRESS},
        });
        let is_asked = |ask: &Ask<'_>| matches!(ask.action, Action::Dns { name, .. } if name.starts_with("echo.demo."));
        Fake::healthy()
            .object("infra", service)
            .rule(move |ask| is_asked(ask).then(|| answer(ask)))
    }

    fn with(address: &str) -> Outcome {
        dns_answer(address.parse().expect("an address"))
    }

    #[tokio::test(start_paused = true)]
    async fn the_right_address_of_every_service_is_green() {
        let text = world(|_| with(ADDRESS)).expect(&OtherServices, infra(), "pass").await;
        assert!(text.contains("echo.demo.svc.cluster.local. of replica"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_address_or_none_is_red_and_named() {
        let text = world(|_| with("10.96.77.8"))
            .expect(&OtherServices, infra(), "fail")
            .await;
        assert!(text.contains("echo.demo.svc.cluster.local. of replica"), "{text}");
        world(|_| timeout()).expect(&OtherServices, infra(), "fail").await;
        world(|_| dns_records(Vec::new()))
            .expect(&OtherServices, infra(), "fail")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_late_to_change_is_not_red() {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let late = world(move |_| {
            let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            with(if before < 2 { "10.96.77.8" } else { ADDRESS })
        });
        late.expect(&OtherServices, infra(), "pass").await;
    }

    #[tokio::test(start_paused = true)]
    async fn services_that_cannot_be_listed_are_inconclusive() {
        let text = Fake::healthy()
            .list_refused("Service")
            .expect(&OtherServices, infra(), "inconclusive")
            .await;
        assert!(text.contains("cannot be listed"), "{text}");
    }
}
