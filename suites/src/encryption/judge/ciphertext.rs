//! The ciphertext in a window: between the two nodes of every flow, both ways, at least as much as was sent.

use super::{super::capture_point::CapturePoint, Flow, Mode, Reading};
use crate::kit::cilium::nodes::MeshNode;
use meshproof_contract::{CaptureReport, ClusterName, Outcome, Tally};
use std::collections::BTreeMap;

impl Reading<'_> {
    /// Whether each node that captured saw at least the payload's volume of ciphertext between the nodes of every flow.
    pub(super) fn count_ciphertext(&self, mode: Mode, tally: &mut Tally) {
        let kind = match mode {
            Mode::Ipsec => "IPsec ciphertext (ESP)",
            Mode::WireGuard | Mode::None => "WireGuard ciphertext (type 4)",
        };
        let mut expected: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for (flow, a, b) in self.crossing() {
            *expected.entry((a, b)).or_default() += flow.bytes;
            *expected.entry((b, a)).or_default() += flow.bytes;
        }
        let (mut pairs, mut total) = (0, 0);
        for ((from, to), bytes) in expected {
            let (sender, receiver) = (&self.window.captures[from], &self.window.captures[to]);
            let (from, to) = (&sender.0.node, &receiver.0.node);
            let mut enough = true;
            for (point, report) in [sender, receiver] {
                let Ok(report) = report else { continue };
                let seen = ciphertext(report, mode, from, to);
                if seen < bytes.max(1) {
                    enough = false;
                    tally.unknown(format!(
                        "{}: saw {seen} B of {kind} from {} to {}, less than the {bytes} B of payload: \
                         the traffic took a path that is not captured",
                        point.node.label(),
                        from.label(),
                        to.label()
                    ));
                }
            }
            pairs += usize::from(enough);
            total += bytes;
        }
        if pairs > 0 {
            tally.witness(format!(
                "{kind} of at least the {total} B of payload was seen on both nodes of all \
                 {pairs} ordered node pairs"
            ));
        } else if self.blind.is_empty() {
            tally.unknown("no flow crossed from one capturing node to another");
        }
    }

    /// The flows that went from one capturing node to another, with the positions of both.
    pub(super) fn crossing(&self) -> impl Iterator<Item = (&Flow, usize, usize)> {
        self.window.flows.iter().filter_map(|(flow, outcome, _)| {
            let outcome = outcome.as_ref().ok().filter(|outcome| (flow.arrived)(outcome))?;
            let near = self.position(flow.from.id.cluster.as_str(), flow.from.node.as_str())?;
            let far = self.far_end(flow, outcome)?;
            (near != far).then_some((flow, near, far))
        })
    }

    /// Whether something went from a node of one cluster to another node of the other.
    pub fn crossed(&self, from: &ClusterName, to: &ClusterName) -> bool {
        let cluster = |at: usize| &self.window.captures[at].0.node.cluster;
        self.crossing()
            .any(|(_, near, far)| cluster(near) == from && cluster(far) == to)
    }

    fn far_end(&self, flow: &Flow, outcome: &Outcome) -> Option<usize> {
        match (&flow.to, outcome.served_by()) {
            (Some((cluster, node)), _) => self.position(cluster.as_str(), node.as_str()),
            (None, Some(identity)) => self.position(&identity.cluster, &identity.node),
            (None, None) => None,
        }
    }

    /// The position of a node's capture point.
    fn position(&self, cluster: &str, node: &str) -> Option<usize> {
        let is = |point: &CapturePoint| point.node.cluster.as_str() == cluster && point.node.name.as_str() == node;
        self.window.captures.iter().position(|(point, _)| is(point))
    }
}

/// Bytes of ciphertext that a capture saw from one node to another. IPsec's tunnels may end at the nodes' router
/// addresses.
fn ciphertext(report: &CaptureReport, mode: Mode, from: &MeshNode, to: &MeshNode) -> u64 {
    let devices = report.devices.iter();
    match mode {
        Mode::Ipsec => {
            let is_of = |node: &MeshNode, address| node.has(address) || node.reserved.contains(&address);
            let flows = devices.flat_map(|device| &device.esp);
            let between = flows.filter(|flow| is_of(from, flow.source) && is_of(to, flow.destination));
            between.map(|flow| flow.bytes).sum()
        }
        Mode::WireGuard | Mode::None => {
            let flows = devices.flat_map(|device| &device.wireguard);
            let between = flows.filter(|flow| from.has(flow.source) && to.has(flow.destination));
            between.map(|flow| flow.transport_bytes).sum()
        }
    }
}
