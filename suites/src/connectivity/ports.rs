//! No TCP port is closed on the way: pods are reached at the ports that applications use, not only at those of probes.

use crate::kit::{
    matrix::{self, Attempt, Cell, Deviation, Judged, Locality, Path, Paths, Seen, Wording},
    path_check::PathProbe,
    paths,
    probes::DEADLINE,
    recent::{self, Age},
};
use async_trait::async_trait;
use meshproof_contract::{Action, CheckContext, CheckId, CheckText, Outcome, Probe, Tally, Target, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;

/// TCP ports between pods.
#[derive(Clone, Copy, Debug)]
pub struct Ports;

/// Ports that much is served on: web, databases, queues, caches, telemetry, gRPC.
const USUAL: [u16; 24] = [
    22, 53, 80, 443, 1433, 2379, 3000, 3306, 4317, 4318, 5432, 5672, 6379, 6443, 8443, 9000, 9042, 9090, 9092, 9200,
    11211, 27017, 30000, 50051,
];
/// So many ports of Services are added to them.
const OF_SERVICES: usize = 40;

const WORDING: Wording = Wording {
    what: "TCP ports",
    ok: "reached at every port",
    figure: None,
};

/// The ports to try: the usual ones, and those that Services of the cluster lead to; and why these are not known.
async fn ports(context: &CheckContext, paths: &Paths) -> (Vec<u16>, Option<String>) {
    let slices = recent::list(
        context,
        &paths.to,
        ("discovery.k8s.io/v1", "EndpointSlice"),
        Age::OfThisRun,
    );
    let (slices, unread) = match slices.await {
        Ok(slices) => (slices, None),
        Err(error) => (
            Vec::new().into(),
            Some(format!("the EndpointSlices of {} cannot be read: {error}", paths.to)),
        ),
    };
    let all: BTreeSet<u16> = slices.iter().flat_map(served).collect();
    let usual = BTreeSet::from(USUAL);
    let more: Vec<u16> = all.difference(&usual).copied().take(OF_SERVICES).collect();
    (usual.into_iter().chain(more).collect(), unread)
}

fn served(slice: &Value) -> impl Iterator<Item = u16> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let tcp = ports.filter(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP");
    tcp.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok())
}

fn connect(path: &Path, port: u16) -> Probe {
    let to = Target::new(path.to.address.to_string(), port);
    Probe::once(Action::TcpConnect { to }, DEADLINE)
}

/// What one port showed: whether the pod's kernel answered, accepting or refusing; none if it could not be tried.
fn is_reached(outcome: &Outcome) -> Option<bool> {
    match outcome {
        Outcome::Answered { .. } | Outcome::Refused { .. } | Outcome::Reset { .. } | Outcome::Closed { .. } => {
            Some(true)
        }
        Outcome::LocalError { .. } => None,
        _ => Some(false),
    }
}

/// The ports that were not reached.
fn silent(ports: &[u16], outcomes: &[Outcome]) -> Vec<u16> {
    let pairs = ports.iter().zip(outcomes);
    let silent = pairs.filter(|(_, outcome)| is_reached(outcome) == Some(false));
    silent.map(|(port, _)| *port).collect()
}

fn judge(ports: &[u16], outcomes: &[Outcome]) -> Cell {
    if let Some(Outcome::LocalError { reason }) = outcomes.iter().find(|outcome| is_reached(outcome).is_none()) {
        return Cell::Unknown(format!("the agent could not try: {reason}"));
    }
    match silent(ports, outcomes).as_slice() {
        [] => Cell::Ok(None),
        silent => Cell::NoAnswer(deviation(silent)),
    }
}

fn deviation(silent: &[u16]) -> Deviation {
    let ports: Vec<String> = silent.iter().map(u16::to_string).collect();
    Deviation::new(
        "every TCP port of the pod accepts or refuses a connection, within 1000 ms, or on retry within 3500 ms",
        format!("nothing comes back from TCP port {}", ports.join(", ")),
    )
}

/// Tries the silent ports of a path once more beside a pod on the node of the pod that is asked: what is silent there,
/// too, is not kept back by the way between the nodes.
async fn compared(context: &CheckContext, path: &Path, ports: &[u16]) -> Cell {
    let facts = context.environment.facts();
    let clients = paths::agents(&facts, &path.to.id.cluster, &path.from.workload);
    let Some(near) = clients.into_iter().find(|client| client.node == path.to.node) else {
        return Cell::Unknown(format!("{path}: no pod beside the one that is asked to compare with"));
    };
    let near = Path {
        from: near,
        to: path.to.clone(),
    };
    let probes = |path: &Path| -> Vec<Probe> {
        let patient = |port: &u16| crate::kit::probes::patient(connect(path, *port));
        ports.iter().map(patient).collect()
    };
    let seen = matrix::observe(context.environment.as_ref(), &[path.clone(), near], probes).await;
    let silent_on = |seen: &Seen| {
        seen.as_ref()
            .map(|outcomes| silent(ports, outcomes))
            .map_err(ToString::to_string)
    };
    let (Some(far), Some(near)) = (seen.first(), seen.get(1)) else {
        return Cell::Unknown("no port was tried".to_owned());
    };
    match (silent_on(far), silent_on(near)) {
        (Ok(far), Ok(near)) => {
            let closed: Vec<u16> = far.iter().copied().filter(|port| !near.contains(port)).collect();
            if let Some(port) = far.iter().find(|port| near.contains(port)) {
                context.note(format!(
                    "{path}: left out TCP port {port} and such, which are silent from a pod on the same node, too"
                ));
            }
            match closed.as_slice() {
                [] => Cell::Ok(None),
                closed => Cell::Mismatch(deviation(closed)),
            }
        }
        (Err(why), _) | (_, Err(why)) => Cell::Unknown(why),
    }
}

#[async_trait]
impl PathProbe for Ports {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id("connectivity::ports")
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: locality.by(
                "Pods on the same node are reached at every TCP port that applications use",
                "Pods on other nodes are reached at every TCP port that applications use",
                "Pods of the other cluster are reached at every TCP port that applications use",
            ),
            proves: "No filter between the nodes closes single ports: databases, queues and telemetry are not kept \
                     back where the probes' own ports pass.",
            how: "Every client opens a TCP connection to every server pod at 24 usual ports (22, 80, 443, 5432, 6379, \
                  9092 and others) and at up to 40 more that Services of the cluster lead to. Nobody need listen: a \
                  refusal by the pod's kernel shows that the way is open. A pair with a silent port is tried twice \
                  more, with 3.5 s, and then once beside a pod on the server's own node; what is silent there, too, is \
                  left out, since no way between nodes keeps it back.",
            control: "The ports that answer, and the pod on the server's own node. Without the EndpointSlices, which \
                      name the ports of Services, it is inconclusive.",
            when_red: "`hubble observe --last 200 --from-ip A --to-ip B` on both nodes (drops by Cilium), then `nft \
                       list ruleset` or `iptables-save` there, and the firewall between the nodes: `kubectl --context \
                       CONTEXT get networkpolicies,ciliumnetworkpolicies -A` shows rules of others.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(&[], &["port-closed"], &["port-closed-mesh"])
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let (ports, unread) = ports(context, paths).await;
        let probes = |path: &Path, _: Attempt| ports.iter().map(|port| connect(path, *port)).collect();
        let mut judged =
            matrix::probe_with_retry(context, &paths.list, probes, |_, _, outcomes| judge(&ports, outcomes)).await;
        for Judged { path, cell } in &mut judged {
            if matches!(cell, Cell::NoAnswer(_)) {
                *cell = compared(context, path, &ports).await;
            }
        }
        let mut tally = Tally::new();
        if let Some(why) = unread {
            tally.unknown(why);
        }
        matrix::conclude(context, paths, WORDING, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Ask, Fake, infra, instance_of, local_error, timeout},
    };
    use serde_json::json;

    const CHECKS: [PathCheck<Ports>; 2] = [PathCheck::other_node(Ports), PathCheck::other_cluster(Ports)];

    fn is_to(ask: &Ask<'_>, port: u16) -> bool {
        matches!(ask.action, Action::TcpConnect { to } if to.port == port)
    }

    /// Whether the pod that is asked is on the node of the pod that asks.
    fn is_near(ask: &Ask<'_>) -> bool {
        let Action::TcpConnect { to } = ask.action else {
            return false;
        };
        let mut agents = ask.facts().agents.iter();
        agents.any(|agent| agent.address.to_string() == to.host && agent.node == ask.from.node)
    }

    #[tokio::test(start_paused = true)]
    async fn ports_that_refuse_are_green() {
        for check in CHECKS {
            Fake::healthy().expect(&check, instance_of(&check), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_is_closed_on_the_way_is_red_and_named() {
        for check in CHECKS {
            let closed = Fake::healthy().rule(|p| (is_to(p, 5432) && !is_near(p)).then(timeout));
            let text = closed.expect(&check, instance_of(&check), "fail").await;
            assert!(text.contains("nothing comes back from TCP port 5432"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_ports_of_services_are_tried_and_silence_everywhere_is_left_out() {
        let check = PathCheck::other_node(Ports);
        let slice = json!({"kind": "EndpointSlice", "metadata": {"namespace": "shop", "name": "cart-1"},
            "ports": [{"port": 7070, "protocol": "TCP"}, {"port": 7071, "protocol": "UDP"}]});
        let with = || Fake::healthy().object("infra", slice.clone());
        let closed = with().rule(|p| (is_to(p, 7070) && !is_near(p)).then(timeout));
        let text = closed.expect(&check, infra(), "fail").await;
        assert!(text.contains("TCP port 7070"), "{text}");
        let everywhere = with().rule(|p| is_to(p, 7070).then(timeout));
        let text = everywhere.expect(&check, infra(), "pass").await;
        assert!(text.contains("left out TCP port 7070"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_tried_is_inconclusive() {
        for check in CHECKS {
            let broken = Fake::healthy().rule(|_| Some(local_error()));
            broken.expect(&check, instance_of(&check), "inconclusive").await;
        }
    }
}
