//! ICMP errors about tracked flows: they follow the flow's translation backwards, outside and inside (RFC 5508).

use super::{Delivery, Refusal, Switch, Transit, conntrack::Way};
use crate::packet::{quoted_headers, set_destination, set_source, translate_quote};
use std::net::SocketAddrV4;

impl Switch {
    /// Passes an ICMP error that is about a tracked flow. `false` if it is about none.
    pub(super) fn pass_related(&mut self, transit: &mut Transit, out: &mut Vec<Delivery>) -> Result<bool, Refusal> {
        let Ok(quoted) = quoted_headers(transit.packet.bytes(), &transit.headers) else {
            return Ok(false);
        };
        let Some((key, way)) = self.conntrack.find(transit.now, &quoted.tuple.reversed()) else {
            return Ok(false);
        };
        let flow = self.conntrack.get(key);
        let (quote, source, answered, destination) = match way {
            Way::Reply => (
                flow.original,
                flow.original.destination,
                flow.reply.source,
                flow.original.source,
            ),
            Way::Original => (
                flow.reply,
                flow.reply.destination,
                flow.original.source,
                flow.reply.source,
            ),
        };
        let headers = transit.headers;
        translate_quote(transit.packet.bytes_mut(), &headers, &quoted, quote);
        // An error from the far end wears the address that its receiver knows; one from a hop between keeps its own.
        if headers.source() == *answered.ip() {
            set_source(transit.packet.bytes_mut(), &headers, SocketAddrV4::new(*source.ip(), 0));
        }
        set_destination(
            transit.packet.bytes_mut(),
            &headers,
            SocketAddrV4::new(*destination.ip(), 0),
        );
        self.reread(transit);
        self.send_on(transit, transit.tuple, true, false, out);
        Ok(true)
    }
}
