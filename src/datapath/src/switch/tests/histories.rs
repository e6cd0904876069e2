//! Generated histories: whatever flows there are, packets and answers reach whom they are for.

use super::net::{Net, VIP, answer, assert_checksums, at, pod, segment, service, udp};
use crate::{
    packet::tcp,
    service::Protocol,
    switch::{Source, Target},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

/// One step of a generated history.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Client pod `client` of `node` sends from `port` to a server, and the server answers.
    Ask {
        node: usize,
        client: u8,
        port: u16,
        server: Server,
        protocol: Protocol,
    },
    /// Time passes.
    Wait(u16),
}

#[derive(Clone, Copy, Debug)]
enum Server {
    Service,
    Pod(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let server = prop_oneof![
        2 => Just(Server::Service),
        1 => (0usize..2, 0u8..3).prop_map(|(node, n)| Server::Pod(node, n)),
    ];
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let ask =
        (0usize..2, 0u8..3, 1000u16..1004, server, protocol).prop_map(|(node, client, port, server, protocol)| {
            Step::Ask {
                node,
                client,
                port,
                server,
                protocol,
            }
        });
    prop_oneof![12 => ask, 1 => (1u16..90).prop_map(Step::Wait)]
}

proptest! {
    /// Whatever flows there are: every packet reaches one party, every answer reaches who asked, from the address that
    /// was asked, checksums hold, and a live flow keeps its backend.
    #[test]
    fn answers_reach_who_asked_and_flows_keep_their_backend(steps in proptest::collection::vec(step(), 1..60)) {
        let mut net = Net::new();
        let backends = [pod(0, 1), pod(1, 1), pod(1, 2)];
        net.set_services(&[service(Protocol::Tcp, &backends), service(Protocol::Udp, &backends)]);
        let mut kept: BTreeMap<(SocketAddrV4, u8), (SocketAddrV4, Instant)> = BTreeMap::new();
        for step in steps {
            let (node, client, server, protocol) = match step {
                Step::Wait(seconds) => {
                    net.now += Duration::from_secs(seconds.into());
                    continue;
                }
                Step::Ask { node, client, port, server, protocol } => {
                    (node, at(pod(node, client), port), server, protocol)
                }
            };
            let to = match server {
                Server::Service => at(VIP, 80),
                Server::Pod(there, n) if pod(there, n) == *client.ip() => continue,
                Server::Pod(there, n) => at(pod(there, n), 8080),
            };
            let request = match protocol {
                Protocol::Udp => udp(client, to),
                _ => segment(client, to, tcp::SYN),
            };
            let arrival = net.send(*client.ip(), &request);
            assert_checksums(arrival.packet.bytes());
            let tuple = arrival.headers().tuple;
            let Target::Pod(at_pod) = arrival.target else { panic!("not at a pod: {arrival:?}") };
            prop_assert_eq!(at_pod, *tuple.destination.ip());
            if let Server::Service = server {
                prop_assert!(backends.contains(&at_pod), "{} is not a backend", at_pod);
                // UDP flows are forgotten after a minute; this one may then go anywhere.
                let lifetime = Duration::from_secs(60);
                let key = (client, protocol.number());
                if let Some((backend, last)) = kept.get(&key)
                    && net.now < *last + lifetime
                {
                    prop_assert_eq!(*backend, tuple.destination, "a live flow changed its backend");
                }
                kept.insert(key, (tuple.destination, net.now));
            } else {
                prop_assert_eq!(tuple.destination, to);
            }
            if at_pod != *client.ip() {
                prop_assert_eq!(tuple.source.ip(), client.ip(), "source address");
            }
            let back = net.send(at_pod, &answer(&arrival));
            assert_checksums(back.packet.bytes());
            prop_assert_eq!(back.target, Target::Pod(*client.ip()));
            prop_assert_eq!(back.node, node);
            let back = back.headers().tuple;
            prop_assert_eq!((back.source, back.destination), (to, client), "the answer is for another flow");
        }
    }

    #[test]
    fn garbage_is_counted_and_goes_nowhere(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut net = Net::new();
        let arrivals = net.carry(0, Source::Pod(pod(0, 0)), &bytes);
        prop_assert!(arrivals.is_empty(), "{:?}", arrivals);
        prop_assert_eq!(net.switches[0].counters().dropped.values().sum::<u64>(), 1);
    }
}
