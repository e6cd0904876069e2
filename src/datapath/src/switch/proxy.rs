//! Flows that pass through a proxy in the node's namespace: where they were going, and who is behind what the proxy
//! opens in turn.

use super::{ProxiedFlow, Switch, Upstream};
use crate::{flow::ProxyPort, packet::Tuple, service::Protocol};
use std::{net::SocketAddrV4, time::Instant};

impl Switch {
    /// Where a flow that a proxy accepted from `client` was really going.
    pub fn proxied_flow(
        &self,
        now: Instant,
        protocol: Protocol,
        client: SocketAddrV4,
        proxy: ProxyPort,
    ) -> Option<ProxiedFlow> {
        let source = SocketAddrV4::new(self.topology.router, proxy.0);
        let (key, _) = self.conntrack.find(
            now,
            &Tuple {
                protocol,
                source,
                destination: client,
            },
        )?;
        let flow = self.conntrack.get(key);
        let was_redirected = flow.redirect == Some(proxy);
        was_redirected.then_some(ProxiedFlow {
            destination: flow.original.destination,
            backend: flow
                .service
                .map_or(flow.original.destination, |binding| binding.backend),
            source_identity: flow.source_identity,
            destination_identity: flow.destination_identity,
        })
    }

    /// Announces that the next flow that a proxy opens from `local`, an address and port that it has bound, is on a
    /// client's behalf. It holds for one flow.
    pub fn impersonate(&mut self, protocol: Protocol, local: SocketAddrV4, upstream: Upstream) {
        self.upstreams.insert((protocol, local), upstream);
    }
}
