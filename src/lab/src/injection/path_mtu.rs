//! Senders that learnt of a smaller path MTU by ICMP remember it for ten minutes: healing has to make them forget.

use crate::state::{LabState, PodNetwork};
use meshproof_datapath::{Effect, Fault, MtuSignal, netns::Namespace};

/// Writing here makes a namespace forget what it learnt about routes, path MTUs included.
const FLUSH: &str = "/proc/sys/net/ipv4/route/flush";

/// Whether ICMP reports this fault's MTU to senders.
pub(super) fn is_signalled(fault: &Fault) -> bool {
    let (Fault::Underlay { impairment, .. } | Fault::Path { impairment, .. } | Fault::Endpoint { impairment, .. }) =
        fault
    else {
        return false;
    };
    matches!(
        impairment.effect,
        Effect::Mtu {
            signal: MtuSignal::Icmp,
            ..
        }
    )
}

/// Makes every node and every pod forget the path MTUs that it learnt.
pub(super) fn forget(lab: &LabState) {
    for (_, node) in lab.nodes() {
        flush(node.handle.namespace());
        for pod in node.pods() {
            if let PodNetwork::Own { net, .. } = &pod.network {
                flush(net.namespace());
            }
        }
    }
}

fn flush(namespace: &Namespace) {
    let flushed = namespace.within(|| std::fs::write(FLUSH, "1"));
    let failed = match flushed {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(failed, "failed to flush the path MTUs of a namespace");
}
