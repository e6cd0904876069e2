//! The machine's own list of links (rtnetlink(7)), and which of them lead to other machines.

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::{collections::HashSet, io, net::IpAddr, os::fd::AsRawFd};

/// Sizes of the headers of netlink and of a link's message, and of an attribute.
const HEADER: usize = 16;
const LINK: usize = 16;
const ATTRIBUTE: usize = 4;
/// The kernel fills at most 32 KiB of what a reader offers.
const ROOM: usize = 1 << 16;
/// Kinds of links that send nothing by themselves, or whose ports are links of their own.
const INSIDE: [&str; 5] = ["bridge", "dummy", "ifb", "nlmon", "vrf"];
/// Kinds of links whose other end is in another network namespace.
const PAIRED: [&str; 2] = ["veth", "netkit"];

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// As the kernel calls it; empty for a piece of hardware.
    kind: String,
    up: bool,
    loopback: bool,
    /// Whether it has an address of its own that others could send to.
    addressed: bool,
}

impl Link {
    /// Whether what is sent by it can leave the machine.
    pub(super) fn leads_out(&self, but: &[String]) -> bool {
        let named = but.iter().any(|prefix| self.name.starts_with(prefix.as_str()));
        let inside = INSIDE.contains(&self.kind.as_str());
        let of_a_pod = PAIRED.contains(&self.kind.as_str()) && !self.addressed;
        self.up && !self.loopback && !named && !inside && !of_a_pod
    }
}

/// All links of this network namespace.
pub(super) fn list() -> io::Result<Vec<Link>> {
    let addressed = addressed()?;
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(netlink.as_raw_fd(), &request(), MsgFlags::empty())?;
    let (mut links, mut buffer) = (Vec::new(), vec![0; ROOM]);
    loop {
        let length = match recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        if read(&buffer[..length], &mut links)? {
            break;
        }
    }
    for link in &mut links {
        link.addressed = addressed.contains(&link.name);
    }
    Ok(links)
}

/// The names of links that have an address beyond the link.
fn addressed() -> io::Result<HashSet<String>> {
    let is_global = |address: IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    let of_all = getifaddrs()?.filter_map(|one| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let v6 = address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
        v4.or(v6).filter(|a| is_global(*a)).map(|_| one.interface_name)
    });
    Ok(of_all.collect())
}

/// The request for all links.
fn request() -> [u8; HEADER + LINK] {
    let mut message = [0; HEADER + LINK];
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    message[0..4].copy_from_slice(&((HEADER + LINK) as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message
}

/// Reads the messages of an answer; whether it was the last.
fn read(mut answer: &[u8], links: &mut Vec<Link>) -> io::Result<bool> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's list of links cannot be read");
    while let Some(length) = number(answer, 0) {
        let body = answer.get(HEADER..length as usize).ok_or_else(broken)?;
        let kind = u16::from_ne_bytes([answer[4], answer[5]]);
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let code = number(body, 0).ok_or_else(broken)? as i32;
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ if kind == libc::RTM_NEWLINK => links.extend(link(body)),
            _ => {}
        }
        answer = answer.get(aligned(length as usize)..).unwrap_or_default();
    }
    Ok(false)
}

/// The link that a message is about; none without a name.
fn link(body: &[u8]) -> Option<Link> {
    let flags = number(body, 8)? as i32;
    let mut link = Link {
        up: flags & libc::IFF_UP != 0,
        loopback: flags & libc::IFF_LOOPBACK != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(LINK..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_LINKINFO => {
                let info = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = info.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// The attributes in a message, each with its type.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<ATTRIBUTE>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A string that ends with its zero.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Everything of netlink begins at a multiple of 4.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, kind: &str, addressed: bool) -> Link {
        Link {
            name: name.to_owned(),
            kind: kind.to_owned(),
            up: true,
            loopback: name == "lo",
            addressed,
        }
    }

    #[test]
    fn links_of_pods_and_of_cilium_do_not_lead_out() {
        let but = ["cilium_".to_owned(), "lxc".to_owned()];
        let out = [
            named("enp3s0", "", true),
            // A port of a bond or a bridge has no address.
            named("enp4s0", "", false),
            named("bond0.12", "vlan", true),
            named("nebula1", "tun", true),
            // A node that is a container itself.
            named("eth0", "veth", true),
        ];
        let inside = [
            named("lo", "", true),
            named("cilium_host", "veth", true),
            named("cilium_wg0", "wireguard", false),
            named("cilium_vxlan", "vxlan", false),
            named("lxc1f0d", "veth", false),
            named("eni4a7c", "veth", false),
            named("kube-ipvs0", "dummy", true),
            named("docker0", "bridge", true),
        ];
        for link in out {
            assert!(link.leads_out(&but), "{link:?}");
            let down = Link { up: false, ..link };
            assert!(!down.leads_out(&but), "{down:?}");
        }
        for link in inside {
            assert!(!link.leads_out(&but), "{link:?}");
        }
    }

    #[test]
    fn the_kernel_lists_loopback() {
        let links = list().expect("a list");
        let lo = links.iter().find(|link| link.name == "lo").expect("loopback");
        assert!(lo.loopback && !lo.addressed, "{lo:?}");
    }

    #[test]
    fn a_broken_answer_is_an_error_and_never_a_panic() {
        let mut links = Vec::new();
        assert!(read(&[200, 0, 0, 0, 16, 0, 2, 0], &mut links).is_err());
        let message = [40_u8, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
        assert!(read(&message, &mut links).is_err() && links.is_empty());
        assert!(link(&[0; 20]).is_none());
        assert_eq!(attributes(&[0, 0, 3, 0, 1]).count(), 0, "shorter than its header");
    }
}
