//! Services of type LoadBalancer of others: their TCP ports, at most a handful, and nothing but a connection.

use crate::{
    kit::{
        probes,
        recent::{self, Age},
    },
    service::{changed_within, judge::suggest, side::Side},
};
use futures::future::join_all;
use meshproof_contract::{Action, AgentFacts, CheckContext, NodeLabel, Outcome, Probe, Tally, Target, Verdict};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};
use tokio::time::sleep;

/// Ports that are asked in all.
const MOST: usize = 4;
/// Connections that each client opens to a port before it counts as not served.
const TRIES: usize = 2;
/// The least time between two looks.
const LEAST: Duration = Duration::from_secs(1);

/// One TCP port of a Service with an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    /// Namespace and name.
    service: (String, String),
    address: IpAddr,
    cluster_ip: IpAddr,
    port: u16,
}

impl Port {
    fn at(&self, address: IpAddr) -> Target {
        Target::new(address.to_string(), self.port)
    }

    fn describe(&self) -> String {
        let (namespace, name) = &self.service;
        format!("Service {namespace}/{name} at {}:{}", self.address, self.port)
    }
}

/// What the clients see; none where no such Service says anything.
pub(super) async fn observe(
    context: &CheckContext,
    side: &Side,
    clients: &[AgentFacts],
) -> Result<Option<Tally>, Verdict> {
    let ports = ports(context, side, Age::OfThisRun).await?;
    if ports.is_empty() {
        return Ok(None);
    }
    let mut tally = Tally::new();
    let seen = look(context, clients, &ports, Patience::First).await;
    let failed = reached(&ports, clients, &seen, &mut tally);
    let mut says_something = failed.len() < ports.len();
    if !failed.is_empty() {
        sleep(changed_within(context).max(LEAST)).await;
        // Those that still have the address, and an endpoint.
        let now: BTreeSet<Port> = self::ports(context, side, Age::now()).await?.into_iter().collect();
        let left: Vec<Port> = failed.into_iter().filter(|port| now.contains(port)).collect();
        let again = look(context, clients, &left, Patience::Second).await;
        for (client, seen) in clients.iter().zip(&again) {
            says_something |= judge(context, side, client, &left, seen, &mut tally);
        }
    }
    Ok(says_something.then_some(tally))
}

/// How long a connection may take, and whether the cluster IP is asked, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    First,
    Second,
}

/// What a client met at a port: at its address and, if that was asked, at its cluster IP.
struct Met {
    at_address: Outcome,
    at_cluster_ip: Option<Outcome>,
}

/// By port, what one client met; or why nothing is known.
type Seen = Result<Vec<Met>, String>;

async fn look(context: &CheckContext, clients: &[AgentFacts], ports: &[Port], patience: Patience) -> Vec<Seen> {
    let connect = |to: Target| {
        let probe = Probe::once(Action::TcpConnect { to }, probes::DEADLINE);
        match patience {
            Patience::First => probe,
            Patience::Second => probes::patient(probe),
        }
    };
    let addresses = |port: &Port| match patience {
        Patience::First => vec![port.address],
        Patience::Second => vec![port.address, port.cluster_ip],
    };
    let targets = ports
        .iter()
        .flat_map(|port| addresses(port).into_iter().map(|address| port.at(address)));
    let batch: Vec<Probe> = targets.flat_map(|to| vec![connect(to); TRIES]).collect();
    let batch = &batch;
    let asking = clients.iter().map(|client| async move {
        let outcomes = context.environment.probe(&client.id, batch.clone()).await;
        let outcomes = outcomes.map_err(|error| error.to_string())?;
        let mut best = outcomes.chunks(TRIES).map(best_of);
        let met = ports.iter().map_while(|_| {
            Some(Met {
                at_address: best.next()?,
                at_cluster_ip: if patience == Patience::Second {
                    Some(best.next()?)
                } else {
                    None
                },
            })
        });
        let met: Vec<Met> = met.collect();
        if met.len() == ports.len() {
            Ok(met)
        } else {
            Err("the agent returned fewer outcomes than it was sent probes".to_owned())
        }
    });
    join_all(asking).await
}

/// An answer if there is one, else the last failure.
fn best_of(tries: &[Outcome]) -> Outcome {
    let answered = tries.iter().find(|outcome| outcome.is_success());
    let one = answered.or(tries.last()).cloned();
    one.unwrap_or_else(|| Outcome::LocalError {
        reason: "no connection was tried".to_owned(),
    })
}

/// Witnesses for the ports that every client reached; the other ports.
fn reached(ports: &[Port], clients: &[AgentFacts], seen: &[Seen], tally: &mut Tally) -> Vec<Port> {
    let mut failed = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let is_reached = |seen: &&Seen| matches!(seen, Ok(met) if met[at].at_address.is_success());
        if seen.iter().filter(is_reached).count() == clients.len() {
            tally.witness(format!("{}: {} clients connected", port.describe(), clients.len()));
        } else {
            failed.push(port.clone());
        }
    }
    failed
}

/// The second look of one client. False if it says nothing of any address.
fn judge(
    context: &CheckContext,
    side: &Side,
    client: &AgentFacts,
    ports: &[Port],
    seen: &Seen,
    tally: &mut Tally,
) -> bool {
    let from = NodeLabel::from(client);
    let met = match seen {
        Ok(met) => met,
        Err(why) => {
            tally.unknown(format!("{from}: {why}"));
            return true;
        }
    };
    let mut says_something = false;
    for (port, met) in ports.iter().zip(met) {
        let what = format!("{} from {from}", port.describe());
        let by_cluster_ip = met.at_cluster_ip.as_ref().is_some_and(Outcome::is_success);
        let outcome = &met.at_address;
        says_something |= outcome.is_success() || outcome.is_local_error() || by_cluster_ip;
        if outcome.is_success() {
            tally.witness(format!("{what}: connected"));
        } else if outcome.is_local_error() {
            tally.unknown(format!("{what}: {outcome}"));
        } else if by_cluster_ip {
            tally.finding(what, "a connection, as at its cluster IP", outcome.to_string());
            suggest(context, side, Some(client));
        } else {
            context.note(format!(
                "{what}: {outcome}; its cluster IP is not answered, either, so nothing is said of the address"
            ));
        }
    }
    says_something
}

/// The ports to ask: one of each Service first, and no more than so many.
async fn ports(context: &CheckContext, side: &Side, age: Age) -> Result<Vec<Port>, Verdict> {
    let cluster = &side.cluster;
    let unable = |error| Verdict::inconclusive(format!("the Services of {cluster} cannot be listed: {error}"));
    let services = recent::list(context, cluster, ("v1", "Service"), age).await;
    let services = services.map_err(unable)?;
    let candidates: Vec<Vec<Port>> = services.iter().map(|service| of_service(side, service)).collect();
    if candidates.iter().all(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let slices = recent::list(context, cluster, ("discovery.k8s.io/v1", "EndpointSlice"), age).await;
    let slices = slices.map_err(unable)?;
    let ready: BTreeSet<(String, String)> = slices.iter().filter_map(ready_service).collect();
    let candidates: Vec<Vec<Port>> = candidates
        .into_iter()
        .filter(|ports| ports.first().is_some_and(|port| ready.contains(&port.service)))
        .collect();
    let most = candidates.iter().map(Vec::len).max().unwrap_or_default();
    let in_turn = (0..most).flat_map(|at| candidates.iter().filter_map(move |ports| ports.get(at)));
    Ok(in_turn.take(MOST).cloned().collect())
}

/// The TCP ports of a Service of others, if it has an address and answers from any node.
fn of_service(side: &Side, service: &Value) -> Vec<Port> {
    let (metadata, spec) = (&service["metadata"], &service["spec"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = (text(&metadata["namespace"]), text(&metadata["name"]));
    let is_ours = side.facts.agents.iter().any(|agent| agent.namespace == name.0);
    let is_open = spec["type"] == "LoadBalancer"
        && spec["internalTrafficPolicy"] != "Local"
        && metadata["deletionTimestamp"].is_null();
    let ingress = service["status"]["loadBalancer"]["ingress"]
        .as_array()
        .into_iter()
        .flatten();
    let mut addresses = ingress.filter_map(|one| one["ip"].as_str()?.parse::<IpAddr>().ok());
    let is_v4 = side.clients.first().is_none_or(|client| client.address.is_ipv4());
    let address = addresses.find(|address| address.is_ipv4() == is_v4);
    let cluster_ip = spec["clusterIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
    let (Some(address), Some(cluster_ip), true, false) = (address, cluster_ip, is_open, is_ours) else {
        return Vec::new();
    };
    let ports = spec["ports"].as_array().into_iter().flatten();
    let tcp = ports.filter(|port| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP"));
    tcp.filter_map(|port| {
        Some(Port {
            service: name.clone(),
            address,
            cluster_ip,
            port: port["port"].as_u64()?.try_into().ok()?,
        })
    })
    .collect()
}

/// The Service of a slice with a ready endpoint.
fn ready_service(slice: &Value) -> Option<(String, String)> {
    let mut endpoints = slice["endpoints"].as_array()?.iter();
    endpoints.find(|endpoint| endpoint["conditions"]["ready"] != false)?;
    let metadata = &slice["metadata"];
    let service = metadata["labels"]["kubernetes.io/service-name"].as_str()?;
    Some((metadata["namespace"].as_str()?.to_owned(), service.to_owned()))
}
