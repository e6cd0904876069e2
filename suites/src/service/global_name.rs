//! The names of global Services resolve to this cluster's own cluster IP, never to the other cluster's.

use super::{MESH_NEEDS, POLL, side::Side};
use crate::kit::{
    dns::{
        ask::ask,
        question::{Expected, Question},
        zone::{Zone, address_record},
    },
    probes::{self, BETWEEN_LOOKS, SECOND_LOOKS},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, EnvironmentError, Needs, Outcome, Probe, Scope, Tally, Target,
    Transport, Verdict,
};
use std::net::IpAddr;
use tokio::time::sleep;

/// The Services whose names are resolved.
const SERVICES: [&str; 4] = ["svc-global", "svc-legacy", "svc-local", "svc-remote"];

/// Names of global Services.
pub struct GlobalName;

#[async_trait]
impl Check for GlobalName {
    fn id(&self) -> CheckId {
        CheckId::from("service::global_name")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "The name of a global Service resolves to the local cluster IP, never to a remote one",
            proves: "Applications reach a global Service by its usual name and get this cluster's cluster IP, the \
                     only one that its nodes load-balance.",
            how: "The client on every node asks cluster DNS for the absolute names of four global Services and must \
                  get exactly the cluster IP in this cluster's API. Then it sends 12 GETs to the name of \
                  `svc-global`; each must go to that address and be answered by a pod.",
            control: "A joined cluster has a Service of the same name with another cluster IP. Services with equal \
                      addresses are left out; without any other the check is inconclusive.",
            when_red: "If the finding shows the other cluster's address, find out who writes into this zone: `kubectl \
                       --context CONTEXT -n DNS_NAMESPACE get cm coredns -o yaml` (plugins besides `kubernetes`), and \
                       external DNS servers that are asked first. No answer: suite dns.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        MESH_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-global-remote-address"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        match observe(context).await {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    side.mesh()?;
    let zone = Zone::asked_by(context, side.clients.clone())?;
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let mut questions = Vec::new();
    for name in SERVICES {
        let (service, address) = zone.cluster_ip(context, name)?;
        let elsewhere = side
            .joined()
            .iter()
            .filter_map(|other| side.facts.service(other, name)?.address)
            .collect::<Vec<IpAddr>>();
        if elsewhere.is_empty() || elsewhere.contains(&address) {
            context.note(format!(
                "{name} is left out: its cluster IP {address} is not unique to this cluster"
            ));
            continue;
        }
        let name = zone.absolute(&service.namespace, &service.name);
        questions.push(Question {
            label: name.clone(),
            probe: probes::dns(&name, address_record(address), None, Transport::Udp),
            expected: Expected::address(address),
        });
    }
    if questions.is_empty() {
        return Err(Verdict::inconclusive(
            "no joined cluster has a Service of the same name with another cluster IP, so their addresses cannot be \
             distinguished",
        ));
    }
    ask(context, &zone, &questions, &mut tally).await;
    through_the_name(context, &side, &zone, &mut tally).await?;
    Ok(tally.verdict())
}

/// What an application does: a request to the name.
async fn through_the_name(context: &CheckContext, side: &Side, zone: &Zone, tally: &mut Tally) -> Result<(), Verdict> {
    let (service, address) = zone.cluster_ip(context, "svc-global")?;
    let name = zone.absolute(&service.namespace, &service.name);
    let target = Target::new(&name, *service.ports.get("http").unwrap_or(&80));
    let target_ref = &target;
    let rows = join_all(
        side.clients
            .iter()
            .map(|client| async move { (client, request(context, client, target_ref, address).await) }),
    )
    .await;
    let mut correct = 0;
    let mut wrong: Vec<Wrong<'_>> = Vec::new();
    for (client, row) in &rows {
        let outcomes = match row {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tally.unknown(format!("{target} from {}: {error}", client.node));
                continue;
            }
        };
        for outcome in outcomes {
            match judge(outcome, address) {
                Seen::Correct => correct += 1,
                Seen::Unknown => tally.unknown(format!("{target} from {}: {outcome}", client.node)),
                Seen::Wrong(what) => {
                    let detail = match outcome {
                        Outcome::Answered { address: Some(at), .. } => format!("went to {}", zone.owner(*at)),
                        other => other.to_string(),
                    };
                    wrong.push(Wrong { client, what, detail });
                }
            }
        }
    }
    if correct > 0 {
        tally.witness(format!(
            "{correct} requests to {target} went to {address} and were answered by pods"
        ));
    }
    for what in [OTHER_ADDRESS, NO_ANSWER] {
        let mut concerned: Vec<&AgentFacts> = Vec::new();
        let mut of_kind = wrong.iter().filter(|one| one.what == what).peekable();
        let Some(first) = of_kind.peek().copied() else {
            continue;
        };
        for one in of_kind {
            if !concerned.contains(&one.client) {
                concerned.push(one.client);
            }
        }
        tally.finding(
            format!("{target} from {}", side.nodes(&concerned)),
            format!("requests go to {address}, this cluster's cluster IP of the Service, and are answered"),
            format!("{what}: {}", first.detail),
        );
    }
    Ok(())
}

/// The outcomes of some requests of one client; those without an answer are made again, with the longer limit of a
/// second look: a machine is busy for a moment.
async fn request(
    context: &CheckContext,
    client: &AgentFacts,
    target: &Target,
    address: IpAddr,
) -> Result<Vec<Outcome>, EnvironmentError> {
    let probe = probes::http_get_from(target.clone());
    let send = |probes: Vec<Probe>| context.environment.probe(&client.id, probes);
    let mut outcomes = send(vec![probe.clone(); POLL as usize]).await?;
    for look in 0..SECOND_LOOKS {
        let silent = |index: &usize| matches!(judge(&outcomes[*index], address), Seen::Wrong(NO_ANSWER));
        let silent: Vec<usize> = (0..outcomes.len()).filter(silent).collect();
        if silent.is_empty() {
            break;
        }
        if look > 0 {
            sleep(BETWEEN_LOOKS).await;
        }
        let again = send(vec![probes::patient(probe.clone()); silent.len()]).await?;
        for (index, outcome) in silent.into_iter().zip(again) {
            outcomes[index] = outcome;
        }
    }
    Ok(outcomes)
}

/// A request that was not answered as it must be.
struct Wrong<'a> {
    client: &'a AgentFacts,
    what: &'static str,
    detail: String,
}

const OTHER_ADDRESS: &str = "another address";
const NO_ANSWER: &str = "no answer";

enum Seen {
    Correct,
    Wrong(&'static str),
    Unknown,
}

fn judge(outcome: &Outcome, expected: IpAddr) -> Seen {
    match outcome {
        _ if outcome.is_local_error() => Seen::Unknown,
        Outcome::Answered { address: Some(at), .. } if *at != expected => Seen::Wrong(OTHER_ADDRESS),
        Outcome::Answered { address: None, .. } => Seen::Unknown,
        Outcome::Answered { .. } if outcome.is_success() => Seen::Correct,
        _ => Seen::Wrong(NO_ANSWER),
    }
}
