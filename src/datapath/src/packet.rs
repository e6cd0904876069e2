//! IPv4 packets in buffers with headroom, and what the switch does to them: read headers, translate addresses, answer
//! with errors, fragment, wrap in VXLAN. Pure: no sockets, no clock.

mod buffer;
mod dsr;
mod fragment;
mod header;
mod reject;
mod rewrite;
mod vxlan;

pub use buffer::{HEADROOM, Packet, PacketPool};
pub use dsr::{add_dsr, take_dsr};
pub use fragment::fragment;
pub use header::{Fragment, HeaderError, Headers, Transport, Tuple, tcp};
pub use reject::{IcmpError, icmp_error, tcp_reset};
pub use rewrite::{decrement_ttl, fix_checksums, quoted_headers, set_destination, set_source, translate_quote};
pub use vxlan::{Outer, VXLAN_HEADERS, decapsulate, encapsulate, inner_of};
