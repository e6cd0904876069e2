//! Faults on a packet's way through the switch.

use super::{PeerIndex, Switch, Transit, ports::Delivery};
use crate::{
    fault::MtuSignal,
    flow::{Direction, DropReason},
    impairment::{Fate, corrupt},
    packet::Tuple,
};
use std::net::Ipv4Addr;

impl Switch {
    /// Applies the faults on the way to a peer. `false` if the packet does not go on as it is.
    pub(super) fn impair_path(
        &mut self,
        peer: PeerIndex,
        transit: &mut Transit,
        before: Tuple,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let Some(impairments) = self.faults.paths.get(peer.0).filter(|faults| !faults.is_empty()) else {
            return true;
        };
        let fate = impairments.judge(transit.packet.bytes(), &transit.headers, &mut self.rng);
        self.suffer(fate, transit, before, out)
    }

    /// Applies the faults on a pod's link. `false` if the packet does not go on as it is.
    pub(super) fn impair_endpoint(
        &mut self,
        address: Ipv4Addr,
        direction: Direction,
        transit: &mut Transit,
        out: &mut Vec<Delivery>,
    ) -> bool {
        let known = self
            .faults
            .endpoints
            .iter()
            .find(|(a, d, _)| *a == address && *d == direction);
        let Some((_, _, impairments)) = known else { return true };
        let fate = impairments.judge(transit.packet.bytes(), &transit.headers, &mut self.rng);
        self.suffer(fate, transit, transit.tuple, out)
    }

    /// Notes what a fate means for a packet on its way. `false` if it does not go on.
    fn suffer(&mut self, fate: Fate, transit: &mut Transit, before: Tuple, out: &mut Vec<Delivery>) -> bool {
        match fate {
            Fate::Pass(passage) => {
                transit.delay += passage.delay;
                transit.twice |= passage.twice;
                if let Some(checksum) = passage.corrupt {
                    let headers = transit.headers;
                    corrupt(transit.packet.bytes_mut(), &headers, checksum);
                }
                return true;
            }
            // Whether it is fragmented or refused is decided where it leaves.
            Fate::TooBig {
                mtu,
                signal: MtuSignal::Icmp,
            } => {
                transit.mtu = transit.mtu.min(usize::from(mtu));
                return true;
            }
            Fate::Reset => {
                self.note_drop(transit, DropReason::Fault);
                self.answer_reset(transit, before, out);
            }
            Fate::Lost
            | Fate::TooBig {
                signal: MtuSignal::Silent,
                ..
            } => self.note_drop(transit, DropReason::Fault),
        }
        false
    }
}
