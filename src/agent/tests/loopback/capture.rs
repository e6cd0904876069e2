//! The capture role on the loopback device. Needs NET_RAW; where it is missing, the refusal is what is tested.

use crate::agent::{Agent, DEADLINE};
use meshproof_contract::{
    Action, CaptureSpec, Marker, Needle, Outcome, Probe, Transport,
    capture::{CaptureReport, DeviceCapture},
};
use meshproof_wire::{Answer, Command};
use std::net::UdpSocket;

fn report(answer: Answer) -> CaptureReport {
    match answer {
        Answer::Capture { report } => report,
        other => panic!("expected a report, got {other:?}"),
    }
}

fn spec() -> CaptureSpec {
    CaptureSpec {
        devices: vec!["lo".into()],
        seconds: 60,
        ..CaptureSpec::default()
    }
}

/// Whether this user may capture; otherwise the agent must say why not.
fn may_capture(agent: &Agent) -> bool {
    match agent.control().call(Command::StartCapture {
        capture: 99,
        spec: spec(),
    }) {
        Answer::Done => true,
        Answer::Error { reason } => {
            assert!(reason.contains("NET_RAW"), "{reason}");
            eprintln!("not run: {reason}");
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn markers_are_seen_in_every_packet_that_carries_them() {
    let agent = Agent::start();
    if !may_capture(&agent) {
        return;
    }
    let markers: Vec<Marker> = (0..5u8)
        .map(|n| Marker([n ^ 0x5a; 16].map(|b| b.wrapping_mul(31))))
        .collect();
    let mut needles: Vec<Needle> = markers.iter().map(|marker| Needle::raw(*marker)).collect();
    needles.push(Needle::text(markers[3]));
    let mut control = agent.control();
    let spec = CaptureSpec {
        needles,
        pods: vec!["127.0.0.0/8".parse().expect("net")],
        ..spec()
    };
    assert_eq!(control.call(Command::StartCapture { capture: 1, spec }), Answer::Done);
    let marked = |transport, to, marker, payload| {
        Probe::once(
            Action::MarkedEcho {
                to,
                transport,
                marker,
                payload,
            },
            DEADLINE,
        )
    };
    let header = Action::Http {
        to: agent.http(),
        method: "GET".into(),
        path: "/".into(),
        headers: vec![("x-marker".into(), markers[3].to_string())],
        body: 0,
        connection: Default::default(),
    };
    let outcomes = agent.batch(vec![
        marked(Transport::Tcp, agent.tcp(), markers[0], 2000),
        marked(Transport::Udp, agent.udp(), markers[1], 512),
        marked(Transport::Udp, agent.udp(), markers[2], 1400),
        Probe::once(header, DEADLINE),
    ]);
    assert!(outcomes.iter().all(Outcome::is_success), "{outcomes:?}");
    let DeviceCapture {
        device,
        packets,
        dropped,
        broken,
        hits,
        clear,
        ..
    } = report(control.call(Command::StopCapture { capture: 1 }))
        .devices
        .remove(0);
    assert_eq!((device.as_str(), dropped, broken), ("lo", 0, None));
    assert!(packets > 10);
    let found: Vec<u32> = hits.iter().map(|hit| hit.needle).collect();
    assert_eq!(found, [0, 1, 2, 5], "raw markers 0 to 2, the text of 3, and never 4");
    for hit in &hits {
        // On loopback each packet passes twice, out and in: request and answer, except the header's answer.
        let least = if hit.needle == 5 { 2 } else { 4 };
        assert!(hit.packets >= least, "{hit:?}");
        assert!(hit.first.source.is_some_and(|source| source.is_loopback()));
    }
    assert!(clear.iter().any(|flow| flow.protocol == 17) && clear.iter().any(|flow| flow.protocol == 6));
}

#[test]
fn wireguard_datagrams_are_counted_by_peer() {
    let agent = Agent::start();
    if !may_capture(&agent) {
        return;
    }
    let socket = UdpSocket::bind("127.0.0.2:0").expect("binds");
    let peer = UdpSocket::bind("127.0.0.3:0").expect("binds");
    let port = peer.local_addr().expect("bound").port();
    let mut control = agent.control();
    let spec = CaptureSpec {
        wireguard: Some(port),
        ..spec()
    };
    assert_eq!(control.call(Command::StartCapture { capture: 1, spec }), Answer::Done);
    let mut datagram = [0; 148];
    for (kind, length) in [(1, 148), (4, 32), (4, 132), (4, 132)] {
        datagram[0] = kind;
        socket.send_to(&datagram[..length], ("127.0.0.3", port)).expect("sends");
    }
    let device = report(control.call(Command::CollectCapture { capture: 1 }))
        .devices
        .remove(0);
    let flow = device
        .wireguard
        .iter()
        .find(|flow| flow.source.to_string() == "127.0.0.2")
        .expect("seen");
    // Twice each, as loopback shows a packet going out and coming in.
    assert_eq!(
        (flow.transport, flow.transport_bytes, flow.keepalives, flow.handshakes),
        (4, 400, 2, 2)
    );
}

#[test]
fn what_cannot_be_captured_is_refused_with_the_reason() {
    let agent = Agent::start();
    let mut control = agent.control();
    for (bad, word) in [
        (
            CaptureSpec {
                devices: vec!["nothere0".into()],
                ..spec()
            },
            "nothere0",
        ),
        (
            CaptureSpec {
                devices: vec![],
                ..spec()
            },
            "devices",
        ),
        (CaptureSpec { seconds: 0, ..spec() }, "lasts"),
    ] {
        match control.call(Command::StartCapture { capture: 1, spec: bad }) {
            Answer::Error { reason } => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        control.call(Command::CollectCapture { capture: 1 }),
        Answer::Error { .. }
    ));
}
