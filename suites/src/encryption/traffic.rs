//! One class of traffic on the wire: nothing of it may be readable between nodes, on any device, in any packet.

use super::claim;
use super::flows::{self, Class};
use super::judge::Reading;
use super::nodes;
use super::peers::{agents, missing};
use super::window::{observe, watches};
use super::{CAPTURE, LISTENER, TALKER, TRAFFIC_NEEDS};
use async_trait::async_trait;
use ipnet::IpNet;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, CiliumQuery, ClusterName, Instance, Needs, Scope, Tally, Unit,
    Verdict,
};

/// A class of traffic.
pub struct Traffic {
    class: Class,
}

/// From pod to pod of a cluster.
pub const PODS: Traffic = Traffic { class: Class::Pods };
/// From pod to pod between clusters.
pub const PODS_ACROSS: Traffic = Traffic {
    class: Class::PodsAcross,
};
/// From a pod to a Service.
pub const SERVICE: Traffic = Traffic { class: Class::Service };
/// From a pod to a global Service.
pub const GLOBAL_SERVICE: Traffic = Traffic {
    class: Class::GlobalService,
};
/// Names asked of cluster DNS.
pub const DNS: Traffic = Traffic { class: Class::Dns };
/// Packets that carry nothing but headers.
pub const HEADERS: Traffic = Traffic { class: Class::Headers };

/// How often traffic is watched before something that was lost counts.
const WINDOWS: usize = 3;
/// Packets kept as evidence.
const KEPT: usize = 24;

#[async_trait]
impl Check for Traffic {
    fn id(&self) -> CheckId {
        CheckId::from(self.class.id())
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: self.class.title(),
            proves: self.class.proves(),
            how: self.class.how(),
            control: "In the same windows every node sends a marker in clear on purpose (from host network to host network of another node; with node encryption to an address outside): the capture must see it on both. Besides, the kernel may have dropped no packet, every flow must have arrived, and on both nodes WireGuard's ciphertext of at least the payload's volume must have been seen between the right two nodes. Whatever is missing makes it inconclusive; so does IPsec, whose ciphertext is not counted. Where the claim is none, the markers must be read: plaintext by design.",
            when_red: "The evidence holds the packets: device, addresses, first bytes. `kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-dbg encrypt status` and `cilium-dbg debuginfo --output json` on the node that sent it: is the receiver's node a peer there? `cilium-dbg status` names the devices on which Cilium encrypts.",
        }
    }
    fn scope(&self) -> Scope {
        self.class.scope()
    }
    fn needs(&self) -> Needs {
        TRAFFIC_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        self.class.faults()
    }

    fn blinded_by(&self) -> &'static [&'static str] {
        &["capture-wrong-device"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let claimed = match claim::between(&facts, &context.instance) {
            Ok(claimed) => claimed,
            Err(verdict) => return verdict,
        };
        let clusters = clusters(&context.instance);
        let mut tally = Tally::new();
        for absent in clusters.iter().flat_map(|cluster| missing(&facts, cluster)) {
            tally.unknown(absent);
        }
        let nodes = nodes::nodes(context, &clusters, &mut tally).await;
        let answers = nodes::ask(context, &clusters, CiliumQuery::Status, &mut tally).await;
        let captures: Vec<AgentFacts> = clusters
            .iter()
            .flat_map(|c| agents(&facts, c, CAPTURE))
            .cloned()
            .collect();
        let (watches, lacking) = watches(&nodes, &answers, &captures);
        for why in lacking {
            tally.unknown(why);
        }
        if watches.len() < 2 {
            tally.unknown("fewer than two nodes can be watched, and between them is where something could be read");
            return tally.verdict();
        }
        // The pods that the flows are between, one by one: not every IPAM mode tells where pods get addresses from.
        let ours = clusters
            .iter()
            .flat_map(|c| agents(&facts, c, TALKER).chain(agents(&facts, c, LISTENER)));
        let replicas = clusters
            .iter()
            .filter_map(|c| facts.cluster(c)?.dns.as_ref())
            .flat_map(|dns| &dns.replicas);
        let pods = ours
            .map(|agent| agent.address)
            .chain(replicas.map(|replica| replica.address));
        let pods: Vec<IpNet> = pods.map(IpNet::from).collect();
        let mut windows = 0;
        let (reading, window);
        loop {
            let flows = match flows::of(self.class, &facts, &context.instance) {
                Ok(flows) => flows,
                Err(verdict) => return verdict,
            };
            let seen = observe(context, &watches, &flows, &pods).await;
            windows += 1;
            if windows >= WINDOWS || !Reading::of(&seen).wants_another() {
                window = seen;
                reading = Reading::of(&window);
                break;
            }
        }
        let (from, to) = (context.instance.from(), context.instance.to());
        if !reading.crossed(from, to) {
            tally.unknown(format!("not one flow from {from} was answered on another node of {to}"));
        }
        context.measure("windows", "", windows as f64, Unit::Count);
        let packets = reading.conclude(&claimed, self.class.subject(&context.instance).as_str(), &mut tally);
        for packet in packets.iter().take(KEPT) {
            context.evidence(packet);
        }
        tally.verdict()
    }
}

fn clusters(instance: &Instance) -> Vec<ClusterName> {
    let mut clusters = vec![instance.from().clone(), instance.to().clone()];
    clusters.dedup();
    clusters
}
