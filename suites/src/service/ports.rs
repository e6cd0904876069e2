//! Every port of a Service leads to its own target port, over its protocol, locally and through the mesh.

use super::{
    NEEDS, POLL,
    ask::{Answers, Exchange, ask, ask_until},
    converges_within,
    judge::{Expected, judge},
    side::Side,
    steady::while_steady,
};
use crate::kit::{
    cilium::frontends,
    known_fault::TWO_PORTS_ON_ONE_TARGET,
    recent::{self, Age},
};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Needs, Scope, Tally, Verdict,
};
use std::{collections::BTreeSet, net::IpAddr};

/// Requests of each client to a port: the chance that one of two clusters never answers is 1e-7.
const REQUESTS: u32 = 24;

/// The global Service of these checks: two of its ports have one target port.
const GLOBAL: &str = "svc-ports";

/// The ports of one protocol.
#[derive(Clone, Copy)]
enum Case {
    Tcp,
    Udp,
}

/// Ports of Services.
pub struct Ports(Case);

/// Several TCP ports.
pub const TCP: Ports = Ports(Case::Tcp);
/// A UDP port.
pub const UDP: Ports = Ports(Case::Udp);

/// A global Service with one port, which has no name.
const UNNAMED: &str = "svc-unnamed";

const CONTROL: &str = "Only an answer of the server behind that port counts: the identity page over HTTP, or the \
                       echoed payload over TCP or UDP. Where a mesh is claimed, pods of every cluster must answer on \
                       every port.";
const WHEN_RED: &str = "Does `kubectl --context CONTEXT -n NAMESPACE get endpointslices -l \
                        kubernetes.io/service-name=svc-ports -o yaml` list the ports by name and protocol, with \
                        equal names in both clusters (Cilium merges by name)? Then `kubectl --context CONTEXT -n \
                        kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg service list`: remote backends behind \
                        one of two ports with the same target port only are cilium/cilium#45109.";

#[async_trait]
impl Check for Ports {
    fn id(&self) -> CheckId {
        CheckId::from(match self.0 {
            Case::Tcp => "service::several_ports",
            Case::Udp => "service::udp_port",
        })
    }
    fn text(&self) -> CheckText {
        match self.0 {
            Case::Tcp => CheckText {
                title: "Each of several ports of a Service leads to its own target port, and one without a name to its",
                proves: "Every node load-balances a Service with several ports port by port, and one whose only port \
                         has no name: to local pods, and for a global Service to pods of all joined clusters.",
                how: "The client on every node sends 24 requests to each TCP port of `svc-plain` and `svc-ports`: 80 \
                      and 8088 (target port 8080, HTTP) and 81 (target port 8081, TCP echo); and to the only port of \
                      `svc-unnamed`, which has no name.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
            Case::Udp => CheckText {
                title: "A UDP port of a Service is load-balanced like a TCP port",
                proves: "On every node, datagrams to a Service reach its pods, and answers come back from the cluster \
                         IP: local pods, and for a global Service pods of all joined clusters.",
                how: "The client on every node sends 24 datagrams, each from its own socket, to UDP port 82 of \
                      `svc-plain` and `svc-ports` (target port 8082). A client with lost datagrams retries once.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        match self.0 {
            Case::Tcp => &[
                "global-ports-mixed-up",
                "service-port-broken",
                "service-unnamed-port-broken",
            ],
            Case::Udp => &["service-udp-broken"],
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context, self.0)).await
    }
}

async fn observe(context: &CheckContext, case: Case) -> Result<Verdict, Verdict> {
    let ports: &[(&str, Exchange)] = match case {
        Case::Tcp => &[
            ("http", Exchange::Http),
            ("alt", Exchange::Http),
            ("tcp", Exchange::Tcp),
        ],
        Case::Udp => &[("udp", Exchange::Udp)],
    };
    let side = Side::of(context, context.instance.from())?;
    let own = vec![side.cluster.clone()];
    let mut of_unnamed = own.clone();
    let mut services: Vec<(&str, Vec<ClusterName>)> = vec![("svc-plain", own)];
    if let Ok(mesh) = side.mesh() {
        let (side, wanted) = (&side, &|answers: &Answers| answers.by_each(&mesh));
        let targets = [
            (GLOBAL, side.target(GLOBAL, "http")?),
            (UNNAMED, side.target(UNNAMED, "")?),
        ];
        // Another check verifies that they are merged at all; here they only take their time.
        let merging = targets.iter().map(|(service, target)| async move {
            let merged = ask_until(context, &side.clients, target, POLL, converges_within(context), wanted).await;
            merged.is_err().then_some(*service)
        });
        for service in join_all(merging).await.into_iter().flatten() {
            context.note(format!(
                "pods of every cluster did not yet answer at {service} before its ports were probed"
            ));
        }
        of_unnamed.clone_from(&mesh);
        services.push((GLOBAL, mesh));
    }
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let mut asked = Vec::new();
    for (service, expected) in &services {
        for (port, exchange) in ports {
            let target = side.target(service, port)?;
            asked.push((
                format!("{service} port {port} ({})", target.port),
                target,
                *exchange,
                expected,
            ));
        }
    }
    if let Case::Tcp = case {
        let target = side.target(UNNAMED, "")?;
        let what = format!("{UNNAMED} port without name ({})", target.port);
        asked.push((what, target, Exchange::Http, &of_unnamed));
    }
    let answers = join_all(asked.iter().map(|(_, target, exchange, _)| {
        let side = &side;
        async move { ask(context, &side.clients, target, *exchange, REQUESTS).await }
    }))
    .await;
    for ((what, _, _, expected), answers) in asked.iter().zip(&answers) {
        judge(context, &side, what, answers, Expected::Clusters(expected), &mut tally);
    }
    let of_port = |port: &str| {
        let mut all = asked.iter().zip(&answers);
        let (_, answers) = all.find(|((what, ..), _)| what.starts_with(&format!("{GLOBAL} port {port} ")))?;
        Some(answers.as_slice())
    };
    if let (Some(one), Some(other)) = (of_port("http"), of_port("alt"))
        && tally.has_findings()
    {
        let seen = behind_one_port(context, &side).await;
        if seen.unwrap_or_else(|| one_of_them_is_local(&side.cluster, one, other)) {
            TWO_PORTS_ON_ONE_TARGET.tell(context, &side.cluster);
        }
    }
    Ok(tally.verdict())
}

/// Whether some agent has the other clusters' backends behind one of two ports with the same target port only, which is
/// noted; none where the agents' lists say nothing.
async fn behind_one_port(context: &CheckContext, side: &Side) -> Option<bool> {
    let address = side.target(GLOBAL, "http").ok()?.host.parse().ok()?;
    let ports = ["http", "alt"].map(|port| Some(side.target(GLOBAL, port).ok()?.port));
    let [Some(one), Some(other)] = ports else { return None };
    let agents = side.facts.agents.iter();
    let far: BTreeSet<IpAddr> = agents
        .filter(|agent| agent.id.cluster != side.cluster)
        .map(|agent| agent.address)
        .collect();
    let listed = recent::cilium(context, &side.cluster, CiliumQuery::Services, Age::now()).await;
    let mut seen = None;
    for answer in listed.ok()? {
        let output = answer.output.ok();
        let Some(behind) = output.and_then(|output| frontends::backends_by_port(&output, address, &far)) else {
            continue;
        };
        let of = |port| behind.get(&port).copied().unwrap_or_default();
        let only = match (of(one), of(other)) {
            (0, far) if far > 0 => Some((other, one, far)),
            (far, 0) if far > 0 => Some((one, other, far)),
            _ => None,
        };
        if let Some((with, without, far)) = only {
            context.note(format!(
                "the agent on {} has {far} backends of other clusters behind port {with} of {GLOBAL}, and none behind \
                 port {without}",
                answer.node
            ));
        }
        seen = Some(seen.unwrap_or(false) || only.is_some());
    }
    seen
}

/// Whether at some client one of two ports with the same target port has the other clusters' backends, the other port
/// has none of them, and every request was answered.
fn one_of_them_is_local(own: &ClusterName, one: &[Answers], other: &[Answers]) -> bool {
    let is_local = |answers: &Answers| answers.by_cluster(own) == answers.answered();
    let complete = one.iter().chain(other).all(Answers::is_complete);
    complete && one.iter().zip(other).any(|(a, b)| is_local(a) != is_local(b))
}
