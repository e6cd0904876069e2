//! Addresses of packet sockets, as the kernel wants them.

use nix::libc::{self, c_int};

/// The address of a MAC behind a device.
pub(super) fn link_address(index: u32, protocol: u16, mac: [u8; 6]) -> libc::sockaddr_ll {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    }
}
