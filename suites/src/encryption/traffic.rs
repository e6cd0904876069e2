//! One kind of traffic on the wire: none of it may be readable between nodes, on any device, in any packet.

use super::{
    TRAFFIC_NEEDS, capture::Capture, claim, flows, judge::Reading, proxied::Redirect, traffic_kind::TrafficKind,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Instance, Needs, Scope, Tally, Verdict,
};

/// A kind of traffic.
pub struct Traffic {
    kind: TrafficKind,
}

const fn of(kind: TrafficKind) -> Traffic {
    Traffic { kind }
}

/// From pod to pod of a cluster.
pub const PODS: Traffic = of(TrafficKind::Pods);
/// From pod to pod between clusters.
pub const PODS_ACROSS: Traffic = of(TrafficKind::PodsAcross);
/// From a pod to a Service.
pub const SERVICE: Traffic = of(TrafficKind::Service);
/// From a pod to a global Service.
pub const GLOBAL_SERVICE: Traffic = of(TrafficKind::GlobalService);
/// Questions to cluster DNS.
pub const DNS: Traffic = of(TrafficKind::Dns);
/// Packets that carry nothing but headers.
pub const HEADERS: Traffic = of(TrafficKind::Headers);
/// Questions through the DNS proxy.
pub const PROXIED_DNS: Traffic = of(TrafficKind::ProxiedDns);
/// Requests through the HTTP proxy.
pub const PROXIED_HTTP: Traffic = of(TrafficKind::ProxiedHttp);

#[async_trait]
impl Check for Traffic {
    fn id(&self) -> CheckId {
        CheckId::from(self.kind.id())
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: self.kind.title(),
            proves: self.kind.proves(),
            how: self.kind.how(),
            control: "Every node also sends a marker in plaintext on purpose (between host networks; with node \
                      encryption to an address outside), and the captures on both nodes must see it; no packet may be \
                      dropped, every flow must arrive, and at least the payload's volume of WireGuard's or IPsec's \
                      ciphertext must be seen between the two nodes. Anything missing is inconclusive; where no \
                      encryption is claimed, the markers must be readable.",
            when_red: "The evidence shows the packets. On the node that sent them, run `kubectl --context CONTEXT -n \
                       kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg encrypt status` and `cilium-dbg \
                       debuginfo --output json`: is the receiving node a peer there?",
        }
    }
    fn scope(&self) -> Scope {
        self.kind.scope()
    }
    fn needs(&self) -> Needs {
        Needs {
            mutates: self.kind.proxy().is_some(),
            ..TRAFFIC_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        self.kind.faults()
    }

    fn blinded_by(&self) -> &'static [&'static str] {
        match self.kind.proxy() {
            None => &["capture-wrong-device"],
            Some(_) => &[],
        }
    }
    fn dimmed_by(&self) -> &'static [&'static str] {
        super::PAIR_CUT_OFF
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let claimed = match claim::between(&facts, &context.instance) {
            Ok(claimed) => claimed,
            Err(verdict) => return verdict,
        };
        let clusters = clusters(&context.instance);
        let mut tally = Tally::new();
        let Some(capture) = Capture::prepare(context, &clusters, &mut tally).await else {
            return tally.verdict();
        };
        let redirect = match self.kind.proxy() {
            None => None,
            Some(proxy) => match Redirect::apply(context, proxy).await {
                Ok(redirect) => Some(redirect),
                Err(verdict) => return verdict,
            },
        };
        let flows = || flows::of(self.kind, &facts, &context.instance);
        let window = capture.observe(context, flows).await;
        if let Some(redirect) = redirect {
            redirect.remove(context).await;
        }
        let window = match window {
            Ok(window) => window,
            Err(verdict) => return verdict,
        };
        let reading = Reading::of(&window);
        let (from, to) = (context.instance.from(), context.instance.to());
        if !reading.crossed(from, to) {
            tally.unknown(format!("no flow from {from} was answered on another node of {to}"));
        }
        reading.conclude(context, &claimed, &self.kind.subject(&context.instance), &mut tally);
        claimed.settle(tally.verdict())
    }
}

fn clusters(instance: &Instance) -> Vec<ClusterName> {
    let mut clusters = vec![instance.from().clone(), instance.to().clone()];
    clusters.dedup();
    clusters
}
