//! The names of global services lead to this cluster's own cluster IP, never to the other cluster's.

use super::side::Side;
use super::{MESH_NEEDS, POLL};
use crate::kit::dns::question::{Expected, Question, ask};
use crate::kit::dns::zone::{Zone, address_record};
use crate::kit::probes;
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Needs, Outcome, Probe, Scope, Tally, Target, Transport,
    Verdict,
};
use std::net::IpAddr;

/// The services whose names are asked for.
const SERVICES: [&str; 4] = ["svc-global", "svc-legacy", "svc-local", "svc-remote"];

/// Names of global services.
pub struct GlobalName;

#[async_trait]
impl Check for GlobalName {
    fn id(&self) -> CheckId {
        CheckId::from("service::global_name")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A global service's name leads to the local cluster IP, never the remote one",
            proves: "Applications reach a global service by its plain name, and what they get is this cluster's own address for it, which is the only one that this cluster's nodes translate: the merging happens behind the address, not in DNS.",
            how: "The client on every node asks cluster DNS for the absolute names of four global services: exactly the cluster IP that this cluster's API tells must come back. Then it sends 12 GETs to the name of `svc-global`, as an application does: each must have gone to that address and be answered by a pod.",
            control: "A joined cluster has a service of the same name with another cluster IP, so the two can be told apart; services with equal addresses are left out, and if all are, the check is inconclusive.",
            when_red: "The finding says whose address came back. The other cluster's: who writes into this zone? The DNS server's configuration (with CoreDNS, plugins besides `kubernetes`), and external DNS servers asked first. No answer: suite dns.",
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
    let zone = Zone::asked_by(context, side.askers.clone())?;
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
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
                "{name} is left out: its addresses cannot be told apart ({address})"
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
            "in no joined cluster has a service of the same name another cluster IP, so whose address comes back cannot be told",
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
    let rows = join_all(side.askers.iter().map(|asker| {
        let batch: Vec<Probe> = (0..POLL).map(|_| probes::http_get_from(target.clone())).collect();
        async move { (asker, context.environment.probe(&asker.id, batch).await) }
    }))
    .await;
    let mut right = 0;
    let mut astray: Vec<(&AgentFacts, &str, String)> = Vec::new();
    for (asker, row) in &rows {
        match row {
            Err(error) => tally.unknown(format!("{target} from {}: {error}", asker.node)),
            Ok(outcomes) => {
                for outcome in outcomes {
                    match judge(outcome, address) {
                        Seen::Right => right += 1,
                        Seen::Unknown => tally.unknown(format!("{target} from {}: {outcome}", asker.node)),
                        Seen::Wrong(what) => {
                            let known = astray.iter().any(|(a, w, _)| a.id == asker.id && *w == what);
                            if !known {
                                let detail = match outcome {
                                    Outcome::Answered { address: Some(at), .. } => {
                                        format!("went to {}", zone.owner(*at))
                                    }
                                    other => other.to_string(),
                                };
                                astray.push((asker, what, detail));
                            }
                        }
                    }
                }
            }
        }
    }
    if right > 0 {
        tally.witness(format!(
            "{right} requests to {target} went to {address} and were answered by pods"
        ));
    }
    for what in [ELSEWHERE, SILENT] {
        let concerned: Vec<&AgentFacts> = astray.iter().filter(|(_, w, _)| *w == what).map(|(a, ..)| *a).collect();
        if let Some((_, _, detail)) = astray.iter().find(|(_, w, _)| *w == what) {
            tally.finding(
                format!("{target} from {}", side.nodes(&concerned)),
                format!("requests go to {address}, this cluster's address of the service, and are answered"),
                format!("{what}: {detail}"),
            );
        }
    }
    Ok(())
}

const ELSEWHERE: &str = "another address";
const SILENT: &str = "no answer";

enum Seen {
    Right,
    Wrong(&'static str),
    Unknown,
}

fn judge(outcome: &Outcome, expected: IpAddr) -> Seen {
    match outcome {
        _ if outcome.is_local_error() => Seen::Unknown,
        Outcome::Answered { address: Some(at), .. } if *at != expected => Seen::Wrong(ELSEWHERE),
        Outcome::Answered { address: None, .. } => Seen::Unknown,
        Outcome::Answered { .. } if outcome.is_success() => Seen::Right,
        _ => Seen::Wrong(SILENT),
    }
}
