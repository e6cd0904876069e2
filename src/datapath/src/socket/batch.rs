//! Many packets a system call: `recvmmsg` and `sendmmsg` over pooled buffers.

#![allow(unsafe_code)]

use super::{Name, address::link_address};
use crate::packet::{Packet, PacketPool};
use nix::libc;
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

/// How many packets one call moves.
const SIZE: usize = 64;

/// Reusable room for one `recvmmsg`.
pub(crate) struct Batch {
    packets: Vec<Packet>,
    names: Vec<libc::sockaddr_in>,
}

impl Batch {
    pub(crate) fn new(pool: &mut PacketPool) -> Self {
        // SAFETY: an all-zero sockaddr_in is a valid one.
        let name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        Self {
            packets: (0..SIZE).map(|_| pool.take()).collect(),
            names: vec![name; SIZE],
        }
    }

    /// Reads what is there, up to a batch; returns how many packets went to `sink`. A packet socket's packets come
    /// without a name.
    pub(crate) fn receive(
        &mut self,
        socket: &impl AsFd,
        pool: &mut PacketPool,
        mut sink: impl FnMut(&mut PacketPool, Packet, Option<SocketAddrV4>),
    ) -> io::Result<usize> {
        // SAFETY: an all-zero mmsghdr is a valid one.
        let mut headers: [libc::mmsghdr; SIZE] = unsafe { std::mem::zeroed() };
        let mut vectors: [libc::iovec; SIZE] = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; SIZE];
        for (index, packet) in self.packets.iter_mut().enumerate() {
            let room = packet.bytes_mut();
            vectors[index] = libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: room.len(),
            };
            let header = &mut headers[index].msg_hdr;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as _;
        }
        // SAFETY: every pointer in the headers is to a buffer of the given length that outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                SIZE as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(0)
            } else {
                Err(error)
            };
        }
        for ((slot, header), name) in self
            .packets
            .iter_mut()
            .zip(&headers)
            .zip(&self.names)
            .take(count as usize)
        {
            let mut packet = std::mem::replace(slot, pool.take());
            packet.truncate(header.msg_len as usize);
            let from = (i32::from(name.sin_family) == libc::AF_INET).then(|| {
                SocketAddrV4::new(
                    Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
                    u16::from_be(name.sin_port),
                )
            });
            sink(pool, packet, from);
        }
        Ok(count as usize)
    }
}

/// Packets waiting to be sent through one socket.
#[derive(Debug)]
pub(crate) struct Outbox {
    fd: Arc<OwnedFd>,
    index: u32,
    queue: Vec<(Packet, Name)>,
}

/// A socket address of either kind, as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C)]
union RawName {
    link: libc::sockaddr_ll,
    inet: libc::sockaddr_in,
}

impl Outbox {
    pub(super) fn new(fd: Arc<OwnedFd>, index: u32) -> Self {
        Self {
            fd,
            index,
            queue: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, packet: Packet, to: Name) {
        self.queue.push((packet, to));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn raw_name(&self, name: Name) -> (RawName, usize) {
        match name {
            Name::Link(mac) => (
                RawName {
                    link: link_address(self.index, libc::ETH_P_IP as u16, mac),
                },
                size_of::<libc::sockaddr_ll>(),
            ),
            Name::Udp(to) => {
                // SAFETY: an all-zero sockaddr_in is a valid one.
                let mut inet: libc::sockaddr_in = unsafe { std::mem::zeroed() };
                inet.sin_family = libc::AF_INET as u16;
                inet.sin_port = to.port().to_be();
                inet.sin_addr.s_addr = u32::from(*to.ip()).to_be();
                (RawName { inet }, size_of::<libc::sockaddr_in>())
            }
        }
    }

    /// Sends everything; returns how many packets the kernel would not take. Buffers go back to the pool.
    pub(crate) fn flush(&mut self, pool: &mut PacketPool) -> u64 {
        let mut lost = 0;
        let queue = std::mem::take(&mut self.queue);
        for chunk in queue.chunks(SIZE) {
            lost += self.send(chunk);
        }
        let mut queue = queue;
        queue.drain(..).for_each(|(packet, _)| pool.put(packet));
        self.queue = queue;
        lost
    }

    fn send(&self, chunk: &[(Packet, Name)]) -> u64 {
        // SAFETY: all-zero headers and names are valid ones.
        let (mut headers, mut names): ([libc::mmsghdr; SIZE], [RawName; SIZE]) = unsafe { std::mem::zeroed() };
        let mut vectors: [libc::iovec; SIZE] = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; SIZE];
        for (index, (packet, name)) in chunk.iter().enumerate() {
            let bytes = packet.bytes();
            vectors[index] = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            let (name, length) = self.raw_name(*name);
            names[index] = name;
            let header = &mut headers[index].msg_hdr;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut names[index]).cast();
            header.msg_namelen = length as _;
        }
        let (mut next, mut lost) = (0, 0);
        while next < chunk.len() {
            // SAFETY: every pointer in the headers is to a buffer of the given length that outlives the call, and the
            // kernel only reads them.
            let sent = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    headers[next..].as_mut_ptr(),
                    (chunk.len() - next) as _,
                    libc::MSG_DONTWAIT as _,
                )
            };
            if sent > 0 {
                next += sent as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            // A full queue or a device that went away: that packet is lost, as on any network; the next may pass.
            tracing::trace!(%error, "packet not sent");
            lost += 1;
            next += 1;
        }
        lost
    }
}
