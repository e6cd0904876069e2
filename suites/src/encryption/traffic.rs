//! One class of traffic on the wire: nothing of it may be readable between nodes, on any device, in any packet.

use super::TRAFFIC_NEEDS;
use super::claim;
use super::flows::{self, Class};
use super::judge::Reading;
use super::proxied::Redirect;
use super::stage::Stage;
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClusterName, Instance, Needs, Scope, Tally, Verdict,
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

/// Names asked through the DNS proxy.
pub const PROXIED_DNS: Traffic = Traffic {
    class: Class::ProxiedDns,
};
/// Requests through the HTTP proxy.
pub const PROXIED_HTTP: Traffic = Traffic {
    class: Class::ProxiedHttp,
};

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
        Needs {
            mutates: self.class.via().is_some(),
            ..TRAFFIC_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        self.class.faults()
    }

    fn blinded_by(&self) -> &'static [&'static str] {
        match self.class.via() {
            None => &["capture-wrong-device"],
            Some(_) => &[],
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let claimed = match claim::between(&facts, &context.instance) {
            Ok(claimed) => claimed,
            Err(verdict) => return verdict,
        };
        let clusters = clusters(&context.instance);
        let mut tally = Tally::new();
        let Some(stage) = Stage::of(context, &clusters, &mut tally).await else {
            return tally.verdict();
        };
        let redirect = match self.class.via() {
            None => None,
            Some(via) => match Redirect::apply(context, via).await {
                Ok(redirect) => Some(redirect),
                Err(verdict) => return verdict,
            },
        };
        let flows = || flows::of(self.class, &facts, &context.instance);
        let window = stage.watch(context, flows).await;
        if let Some(redirect) = redirect {
            redirect.lift(context).await;
        }
        let window = match window {
            Ok(window) => window,
            Err(verdict) => return verdict,
        };
        let reading = Reading::of(&window);
        let (from, to) = (context.instance.from(), context.instance.to());
        if !reading.crossed(from, to) {
            tally.unknown(format!("not one flow from {from} was answered on another node of {to}"));
        }
        let packets = reading.conclude(&claimed, self.class.subject(&context.instance).as_str(), &mut tally);
        for packet in packets.iter().take(KEPT) {
            context.note(packet);
        }
        tally.verdict()
    }
}

fn clusters(instance: &Instance) -> Vec<ClusterName> {
    let mut clusters = vec![instance.from().clone(), instance.to().clone()];
    clusters.dedup();
    clusters
}
