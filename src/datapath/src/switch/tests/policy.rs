//! What a policy is asked, and what its answers do to flows.

use super::net::{Net, VIP, answer, assert_checksums, at, pod, segment, service};
use crate::{
    flow::{Direction, DropReason, FlowVerdict, Observation, ProxyPort},
    identity::Identity,
    packet::{Tuple, tcp},
    policy::{FlowQuery, Policy, Verdict},
    service::Protocol,
    switch::{Source, Target, Upstream},
};
use std::sync::{Arc, Mutex};

/// Denies what its map says, and remembers what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    asked: Arc<Mutex<Vec<FlowQuery>>>,
    denied: Option<(Direction, DropReason)>,
    redirected: Option<(Direction, ProxyPort)>,
}

impl Policy for Scripted {
    fn verdict(&mut self, query: &FlowQuery) -> Verdict {
        self.asked.lock().unwrap().push(*query);
        match (self.denied, self.redirected) {
            (Some((direction, reason)), _) if direction == query.direction => Verdict::Deny(reason),
            (_, Some((direction, port))) if direction == query.direction => Verdict::Redirect(port),
            _ => Verdict::Allow,
        }
    }
}

#[test]
fn policy_is_asked_once_a_flow_on_each_side_with_the_backend() {
    let mut net = Net::new();
    net.set_services(&[service(Protocol::Tcp, &[pod(1, 1)])]);
    let policies = [Scripted::default(), Scripted::default()];
    for (switch, policy) in net.switches.iter_mut().zip(&policies) {
        switch.set_policy(Box::new(policy.clone()));
    }
    let client = at(pod(0, 0), 1000);
    for flags in [tcp::SYN, tcp::ACK, tcp::ACK] {
        let arrival = net.send(*client.ip(), &segment(client, at(VIP, 80), flags));
        net.send(pod(1, 1), &answer(&arrival));
    }
    let egress = policies[0].asked.lock().unwrap();
    let ingress = policies[1].asked.lock().unwrap();
    assert_eq!((egress.len(), ingress.len()), (1, 1));
    assert_eq!(
        (egress[0].direction, egress[0].endpoint, egress[0].remote),
        (Direction::Egress, pod(0, 0), pod(1, 1))
    );
    assert_eq!(egress[0].port, 8080, "the backend's port, not the service's");
    assert_eq!(
        (ingress[0].direction, ingress[0].endpoint),
        (Direction::Ingress, pod(1, 1))
    );
    assert_eq!(ingress[0].remote_identity, Identity(1000), "carried as VNI");
}

#[test]
fn a_denied_flow_is_dropped_with_its_reason_and_a_changed_policy_stops_open_flows() {
    for (node, direction) in [(0, Direction::Egress), (1, Direction::Ingress)] {
        let mut net = Net::new();
        let (client, to) = (at(pod(0, 0), 1000), at(pod(1, 1), 8080));
        net.send(*client.ip(), &segment(client, to, tcp::SYN));
        let denied = Some((direction, DropReason::PolicyDenied));
        net.switches[node].set_policy(Box::new(Scripted {
            denied,
            ..Scripted::default()
        }));
        for source in [client, at(*client.ip(), 1001)] {
            assert!(
                net.carry(0, Source::Pod(*client.ip()), &segment(source, to, tcp::SYN))
                    .is_empty()
            );
        }
        let counters = net.switches[node].counters();
        assert_eq!(
            counters.dropped.get(&(DropReason::PolicyDenied, direction)),
            Some(&2),
            "{counters:?}"
        );
        let flows = net.switches[node].flows(0);
        let of = |observation| flows.iter().filter(|flow| flow.observation == observation).count();
        // As Cilium: one dropped SYN gives two flows.
        assert_eq!(
            (of(Observation::PolicyVerdict), of(Observation::Drop)),
            (2, 2),
            "{flows:#?}"
        );
    }
}

#[test]
fn a_redirected_flow_goes_to_the_proxy_and_its_answers_come_from_whom_was_asked() {
    for (node, direction) in [(0, Direction::Egress), (1, Direction::Ingress)] {
        let mut net = Net::new();
        let redirected = Some((direction, ProxyPort(10_001)));
        net.switches[node].set_policy(Box::new(Scripted {
            redirected,
            ..Scripted::default()
        }));
        let (client, to) = (at(pod(0, 0), 1000), at(pod(1, 1), 8080));
        let arrival = net.send(*client.ip(), &segment(client, to, tcp::SYN));
        assert_eq!((arrival.node, arrival.target), (node, Target::Host));
        assert_checksums(arrival.packet.bytes());
        let tuple = arrival.headers().tuple;
        assert_eq!(tuple.destination.port(), 10_001);
        let proxied = net.switches[node].proxied_flow(net.now, Protocol::Tcp, tuple.source, ProxyPort(10_001));
        let proxied = proxied.expect("the flow was handed over");
        assert_eq!((proxied.destination, proxied.backend), (to, to));
        assert_eq!(proxied.source_identity, Identity(1000));
        let back = net.carry(node, Source::Host, &answer(&arrival));
        assert_eq!(back[0].target, Target::Pod(*client.ip()));
        assert_eq!(
            back[0].headers().tuple,
            Tuple {
                protocol: Protocol::Tcp,
                source: to,
                destination: client
            }
        );
        let flows = net.switches[node].flows(0);
        let verdict = FlowVerdict::Redirected(ProxyPort(10_001));
        assert!(flows.iter().any(|flow| flow.verdict == verdict), "{flows:#?}");
    }
}

#[test]
fn a_proxy_speaks_for_its_client() {
    let mut net = Net::new();
    let policy = Scripted {
        redirected: Some((Direction::Ingress, ProxyPort(10_001))),
        ..Scripted::default()
    };
    net.switches[1].set_policy(Box::new(policy.clone()));
    let (client, to) = (at(pod(0, 0), 1000), at(pod(1, 1), 8080));
    // Egress proxy on node 0: node 1 must see the client, and its own policy is asked.
    let router = at(net.switches[0].topology.router, 40_000);
    net.switches[0].impersonate(
        Protocol::Tcp,
        router,
        Upstream {
            client,
            after: Direction::Egress,
        },
    );
    let arrivals = net.carry(0, Source::Host, &segment(router, to, tcp::SYN));
    assert_eq!(
        (arrivals[0].node, arrivals[0].target),
        (1, Target::Host),
        "redirected again, by node 1"
    );
    assert_eq!(policy.asked.lock().unwrap()[0].remote_identity, Identity(1000));
    assert_eq!(arrivals[0].headers().tuple.source, client);
    // Ingress proxy on node 1: it goes on to the pod, which sees the client; the policy is not asked again.
    let router = at(net.switches[1].topology.router, 40_001);
    net.switches[1].impersonate(
        Protocol::Tcp,
        router,
        Upstream {
            client,
            after: Direction::Ingress,
        },
    );
    let arrivals = net.carry(1, Source::Host, &segment(router, to, tcp::SYN));
    assert_eq!(arrivals[0].target, Target::Pod(*to.ip()));
    assert_eq!(arrivals[0].headers().source(), *client.ip());
    let back = net.carry(1, Source::Pod(*to.ip()), &answer(&arrivals[0]));
    assert_eq!(back[0].target, Target::Host);
    assert_eq!(
        back[0].headers().tuple,
        Tuple {
            protocol: Protocol::Tcp,
            source: to,
            destination: router
        }
    );
    assert_eq!(policy.asked.lock().unwrap().len(), 1);
}
