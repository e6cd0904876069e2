//! Every port of a service leads to the port that it names, over its protocol, locally and through the mesh.

use super::ask::{Answers, Exchange, ask, ask_until};
use super::judge::{Expected, judge};
use super::side::Side;
use super::steady::while_steady;
use super::{NEEDS, POLL, settles};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClusterName, Needs, Scope, Tally, Verdict};

/// Requests of each client to a port: the chance that one of two clusters is never met is 1e-7.
const REQUESTS: u32 = 24;

/// The ports of one protocol.
#[derive(Clone, Copy)]
enum Case {
    Tcp,
    Udp,
}

/// Ports of services.
pub struct Ports(Case);

/// Several TCP ports.
pub const TCP: Ports = Ports(Case::Tcp);
/// A UDP port.
pub const UDP: Ports = Ports(Case::Udp);

const CONTROL: &str = "Only an answer of the asked protocol counts: the identity page of a pod's HTTP server, the echo of its TCP server with the payload sent, the echo of its UDP server. Where a mesh is claimed, pods of every cluster must answer on every port.";
const WHEN_RED: &str = "`kubectl -n meshproof get endpointslices -l kubernetes.io/service-name=svc-global -o yaml`: are the ports there by name and protocol? Then `cilium-dbg service list` on the node named. For the other cluster's pods the port names must be equal in both clusters, since Cilium merges by name.";

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
                title: "Each of several ports of a service leads to its own target port",
                proves: "Services with several ports are translated port by port, on every node: to pods here, and for a global service to pods of all joined clusters.",
                how: "The client on every node sends 24 requests to each TCP port of `svc-plain` and `svc-global`: 80 and 8088, which lead to the pods' HTTP port 8080, and 81, which leads to their TCP port 8081.",
                control: CONTROL,
                when_red: WHEN_RED,
            },
            Case::Udp => CheckText {
                title: "A UDP port of a service is balanced like a TCP port",
                proves: "Datagrams to a service reach its pods and their answers come back from the service's address, on every node: to pods here, and for a global service to pods of all joined clusters.",
                how: "The client on every node sends 24 datagrams, each from a socket of its own, to UDP port 82 of `svc-plain` and `svc-global`, which leads to the pods' UDP port 8082. A datagram lost is sent again once.",
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
            Case::Tcp => &["service-port-broken"],
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
    let mut services: Vec<(&str, Vec<ClusterName>)> = vec![("svc-plain", own)];
    if let Ok(mesh) = side.mesh() {
        let target = side.target("svc-global", "http")?;
        let content = |answers: &Answers| answers.by_each(&mesh);
        // That it is merged at all is another check's subject; here it only takes its time.
        let settled = ask_until(context, &side.askers, &target, POLL, settles(context), content).await;
        if settled.is_err() {
            context.note("svc-global was not answered by every cluster before its ports were asked");
        }
        services.push(("svc-global", mesh));
    }
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
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
    let answers = join_all(asked.iter().map(|(_, target, exchange, _)| {
        let side = &side;
        async move { ask(context, &side.askers, target, *exchange, REQUESTS).await }
    }))
    .await;
    for ((what, _, _, expected), answers) in asked.iter().zip(&answers) {
        judge(context, &side, what, answers, Expected::Clusters(expected), &mut tally);
    }
    Ok(tally.verdict())
}
