//! The plaintext in a window: payloads by their markers, and headers by the addresses of the pods that sent them.

use super::super::{
    capture_point::{CapturePoint, NodeEncryption},
    window::Window,
};
use meshproof_contract::{
    CaptureReport, NodeLabel,
    capture::{ClearFlow, DeviceCapture, Sighting},
    evidence::{Direction, Packet},
    facts::PodNetwork,
};
use std::{collections::BTreeSet, net::IpAddr};

/// How many other places a finding lists.
const PLACES: usize = 3;

/// All plaintext of the window's own flows.
pub fn find(window: &Window, captured: &[(&CapturePoint, &CaptureReport)]) -> Vec<Packet> {
    let mut found = Vec::new();
    let known = Known::of(window);
    for (point, report) in captured {
        for device in &report.devices {
            found.extend(payloads(window, point, device));
        }
    }
    for (point, report) in captured {
        for device in &report.devices {
            let clear = device.clear.iter().filter(|flow| known.must_be_hidden(flow));
            found.extend(clear.map(|flow| headers(point, device, flow)));
        }
    }
    found
}

/// Markers of the flows that were seen on a device.
fn payloads(window: &Window, point: &CapturePoint, device: &DeviceCapture) -> Vec<Packet> {
    let hits = device.hits.iter();
    hits.filter_map(|hit| {
        let mut flows = window.flows.iter();
        let (flow, ..) = flows.find(|(_, _, needle)| *needle == Some(hit.needle))?;
        Some(packet(
            "payload readable".to_owned(),
            flow.name.clone(),
            (point, device),
            &hit.first,
            hit.packets,
        ))
    })
    .collect()
}

/// Packets of a pod whose addresses were readable.
fn headers(point: &CapturePoint, device: &DeviceCapture, flow: &ClearFlow) -> Packet {
    let mut meaning = "pod addresses visible".to_owned();
    if flow.quoted {
        meaning.push_str(" in the packet that an ICMP error quotes");
    }
    if flow.tunnel {
        meaning.push_str(&format!(" in an unencrypted {}", tunnel(&flow.first.head)));
    }
    let name = format!("{} -> {}, {}", flow.source, flow.destination, protocol(flow.protocol));
    packet(meaning, name, (point, device), &flow.first, flow.packets)
}

fn packet(
    meaning: String,
    flow: String,
    (point, device): (&CapturePoint, &DeviceCapture),
    first: &Sighting,
    packets: u64,
) -> Packet {
    Packet {
        meaning,
        flow,
        packets,
        node: NodeLabel::pod(&point.node.cluster, &point.node.name),
        device: device.device.clone(),
        direction: if first.outgoing {
            Direction::Egress
        } else {
            Direction::Ingress
        },
        source: first.source,
        destination: first.destination,
        length: first.length,
        first_bytes: first.head.clone(),
    }
}

/// Where something was readable: `11 packets on infra-1/eth0 (egress); also on infra-2/eth0`.
pub fn places(found: &[&Packet]) -> String {
    let mut places = Vec::new();
    for packet in found {
        let place = format!("{}/{}", packet.node, packet.device);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let Some((packet, (first, others))) = found.first().copied().zip(places.split_first()) else {
        return String::new();
    };
    let mut text = format!(
        "{} on {first} ({})",
        meshproof_contract::text::counted(packet.packets as usize, "packet"),
        packet.direction
    );
    if !others.is_empty() {
        let listed: Vec<&str> = others.iter().take(PLACES).map(String::as_str).collect();
        text.push_str(&format!("; also on {}", listed.join(", ")));
    }
    if others.len() > PLACES {
        text.push_str(&format!(" and {} more devices", others.len() - PLACES));
    }
    text
}

/// Which addresses are whose in a window.
struct Known<'a> {
    /// The pods that the flows are between, and those that nobody has.
    own: BTreeSet<IpAddr>,
    /// Addresses that nobody has: what goes there is one of the flows, whoever seems to send it.
    withheld: BTreeSet<IpAddr>,
    /// Own pods on nodes whose own traffic is encrypted, for checks about headers or about nodes: what nodes send is
    /// no business of the others.
    with_node_encryption: BTreeSet<IpAddr>,
    points: Vec<&'a CapturePoint>,
}

impl<'a> Known<'a> {
    fn of(window: &'a Window) -> Self {
        let flows = || window.flows.iter().map(|(flow, ..)| flow);
        let senders = flows()
            .map(|flow| &flow.from)
            .filter(|from| from.network == PodNetwork::Pod);
        let others = flows().flat_map(|flow| flow.others.iter().copied());
        let own: BTreeSet<IpAddr> = senders.map(|from| from.address).chain(others).collect();
        let withheld = flows().filter(|flow| flow.withheld).flat_map(|flow| &flow.others);
        let points: Vec<&CapturePoint> = window.captures.iter().map(|(point, _)| point).collect();
        let of_nodes = flows().any(|flow| flow.needle.is_none() || flow.from.network != PodNetwork::Pod);
        let on_such = |pod: &IpAddr| {
            let mut such = points.iter().filter(|p| p.node_encryption == NodeEncryption::Enabled);
            of_nodes && such.any(|point| point.node.pod_cidrs.iter().any(|cidr| cidr.contains(pod)))
        };
        Self {
            withheld: withheld.copied().collect(),
            with_node_encryption: own.iter().copied().filter(on_such).collect(),
            own,
            points,
        }
    }

    /// Whether these addresses may not be readable. Of packets with one own pod's address the other decides: another
    /// pod's is traffic between pods; a node's is that node's own traffic, or a pod's behind its address, and encrypted
    /// outside a tunnel only between nodes with node encryption (semantics C1); what is outside is not encrypted.
    fn must_be_hidden(&self, flow: &ClearFlow) -> bool {
        let ends = [flow.source, flow.destination];
        if ends.iter().any(|end| self.withheld.contains(end)) {
            return true;
        }
        match ends.map(|end| self.own.contains(&end)) {
            [true, true] => true,
            [false, false] => false,
            [true, false] => self.is_between_pods(ends[0], ends[1], flow.tunnel),
            [false, true] => self.is_between_pods(ends[1], ends[0], flow.tunnel),
        }
    }

    fn is_between_pods(&self, own: IpAddr, other: IpAddr, tunnel: bool) -> bool {
        if tunnel {
            return true;
        }
        let of_node = |point: &&&CapturePoint| point.node.has(other) || point.node.reserved.contains(&other);
        match self.points.iter().find(of_node) {
            Some(point) => point.node_encryption == NodeEncryption::Enabled && self.with_node_encryption.contains(&own),
            None => {
                let mut cidrs = self.points.iter().flat_map(|point| &point.node.pod_cidrs);
                cidrs.any(|cidr| cidr.contains(&other))
            }
        }
    }
}

/// Which tunnel a packet is in, by the UDP port to which it goes: VXLAN's (8472 in the kernel, 4789 in RFC 7348) or
/// Geneve's (RFC 8926).
fn tunnel(first_bytes: &str) -> &'static str {
    match udp_destination(first_bytes) {
        Some(8472 | 4789) => "VXLAN tunnel",
        Some(6081) => "Geneve tunnel",
        _ => "tunnel",
    }
}

/// The destination port of a UDP datagram that begins with these bytes of an IP packet.
fn udp_destination(first_bytes: &str) -> Option<u16> {
    let byte = |at: usize| u8::from_str_radix(first_bytes.get(2 * at..2 * at + 2)?, 16).ok();
    let (protocol, header) = match byte(0)? >> 4 {
        4 => (byte(9)?, 4 * usize::from(byte(0)? & 0x0f)),
        6 => (byte(6)?, 40),
        _ => return None,
    };
    (protocol == 17).then_some(())?;
    Some(u16::from_be_bytes([byte(header + 2)?, byte(header + 3)?]))
}

fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        other => format!("IP protocol {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 header for UDP, with a UDP header to that port.
    fn datagram(port: u16) -> String {
        format!("4500006e000040004011000000000000000000000000{port:04x}00000000").replacen(
            "0000000000000000000000000000",
            "000000000a190b0b0a190b0cd431",
            1,
        )
    }

    #[test]
    fn a_tunnel_is_named_by_its_port() {
        assert_eq!(tunnel(&datagram(8472)), "VXLAN tunnel");
        assert_eq!(tunnel(&datagram(4789)), "VXLAN tunnel");
        assert_eq!(tunnel(&datagram(6081)), "Geneve tunnel");
        for odd in [datagram(53), "4500".to_owned(), String::new(), "zz".to_owned()] {
            assert_eq!(tunnel(&odd), "tunnel", "{odd}");
        }
        let v6 = format!("60000000{:04x}1140{}d4312118", 100, "00".repeat(32));
        assert_eq!(tunnel(&v6), "VXLAN tunnel");
    }

    #[test]
    fn a_finding_names_the_first_place_and_a_few_others() {
        let on = |device: &str, direction| Packet {
            meaning: "payload readable".to_owned(),
            flow: "infra-1 -> infra-2, TCP".to_owned(),
            packets: 11,
            node: NodeLabel::pod(&"infra".into(), &"infra-1".into()),
            device: device.to_owned(),
            direction,
            source: None,
            destination: None,
            length: 100,
            first_bytes: "4500006e".to_owned(),
        };
        let (out, back) = (on("eth0", Direction::Egress), on("eth0", Direction::Ingress));
        assert_eq!(places(&[&out, &back]), "11 packets on infra-1/eth0 (egress)");
        let others: Vec<Packet> = (1..=5).map(|n| on(&format!("eth{n}"), Direction::Egress)).collect();
        let all: Vec<&Packet> = [&out].into_iter().chain(&others).collect();
        assert_eq!(
            places(&all),
            "11 packets on infra-1/eth0 (egress); also on infra-1/eth1, infra-1/eth2, infra-1/eth3 and 2 more devices"
        );
    }
}
