//! Far sides that misbehave in one way each.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
};

/// A TCP server that hands each connection to `serve`; its port on 127.0.0.1.
pub fn tcp(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream);
        }
    });
    port
}

/// Closes with a RST instead of a FIN.
pub fn reset(stream: TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&stream.as_fd(), nix::sys::socket::sockopt::Linger, &linger).expect("linger");
}

/// Reads a little and then says `answer`.
pub fn says(answer: &'static [u8]) -> u16 {
    tcp(move |mut stream| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer);
    })
}

/// Takes connections, reads, and keeps silent for ever.
pub fn silent() -> u16 {
    let held = std::sync::Mutex::new(Vec::new());
    tcp(move |stream| held.lock().expect("lock").push(stream))
}

/// A TCP port that answers no SYN: its queue is full.
pub struct Deaf {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
    pub port: u16,
}

pub fn deaf() -> Deaf {
    use nix::sys::socket::{Backlog, listen};
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listen(&listener, Backlog::new(0).expect("backlog")).expect("listens");
    let address = listener.local_addr().expect("bound");
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, std::time::Duration::from_millis(100)) {
        queue.push(stream);
        assert!(queue.len() < 50, "the queue does not fill");
    }
    Deaf {
        _listener: listener,
        _queue: queue,
        port: address.port(),
    }
}

/// A port on which nobody listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .expect("binds")
        .local_addr()
        .expect("bound")
        .port()
}

/// What a relay does with a datagram.
pub enum Fate {
    Pass,
    Drop,
    Garble,
}

/// Which way a datagram goes through a relay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

/// A UDP relay in front of `to` (one client at a time); its port on 127.0.0.1.
pub fn relay(to: u16, mut fate: impl FnMut(Way, usize) -> Fate + Send + 'static) -> u16 {
    let front = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let port = front.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let back = UdpSocket::bind("127.0.0.1:0").expect("binds");
        back.connect(("127.0.0.1", to)).expect("connects");
        back.set_read_timeout(Some(std::time::Duration::from_millis(1)))
            .expect("timeout");
        front
            .set_read_timeout(Some(std::time::Duration::from_millis(1)))
            .expect("timeout");
        let mut buffer = vec![0; 1 << 16];
        let mut client = None;
        loop {
            if let Ok((length, from)) = front.recv_from(&mut buffer) {
                client = Some(from);
                pass(&mut fate, Way::There, &mut buffer[..length], |d| drop(back.send(d)));
            }
            if let (Ok(length), Some(client)) = (back.recv(&mut buffer), client) {
                pass(&mut fate, Way::Back, &mut buffer[..length], |d| {
                    drop(front.send_to(d, client))
                });
            }
        }
    });
    port
}

fn pass(fate: &mut impl FnMut(Way, usize) -> Fate, way: Way, datagram: &mut [u8], send: impl Fn(&[u8])) {
    match fate(way, datagram.len()) {
        Fate::Pass => send(datagram),
        Fate::Drop => {}
        Fate::Garble => {
            if let Some(last) = datagram.last_mut() {
                *last ^= 1;
            }
            send(datagram);
        }
    }
}

/// A router in front of `to` that says "fragmentation needed" (RFC 1191) to packets above `limit`; its address. None
/// where this user may not send ICMP. It has an address of its own, as the kernel will remember the limit for it.
pub fn telling_router(to: u16, limit: u16) -> Option<std::net::SocketAddrV4> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};
    use std::os::fd::AsRawFd;
    let raw = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Icmp,
    )
    .ok()?;
    let own = std::net::Ipv4Addr::new(127, 66, (std::process::id() % 250) as u8 + 1, 1);
    let front = UdpSocket::bind((own, 0)).expect("binds");
    let port = front.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let back = UdpSocket::bind("127.0.0.1:0").expect("binds");
        back.connect(("127.0.0.1", to)).expect("connects");
        let mut buffer = vec![0; 1 << 16];
        while let Ok((length, std::net::SocketAddr::V4(client))) = front.recv_from(&mut buffer) {
            if length + 28 > usize::from(limit) {
                let mut told = vec![3, 4, 0, 0, 0, 0];
                told.extend(limit.to_be_bytes());
                told.extend([0x45, 0]);
                told.extend((length as u16 + 28).to_be_bytes());
                told.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
                told.extend(client.ip().octets());
                told.extend(own.octets());
                told.extend(client.port().to_be_bytes());
                told.extend(port.to_be_bytes());
                told.extend((length as u16 + 8).to_be_bytes());
                told.extend([0, 0]);
                let mut sum: u32 = told
                    .chunks(2)
                    .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
                    .sum();
                while sum > 0xffff {
                    sum = (sum & 0xffff) + (sum >> 16);
                }
                told[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
                let client = SockaddrIn::from(client);
                sendto(raw.as_raw_fd(), &told, &client, MsgFlags::empty()).expect("sends");
                continue;
            }
            back.send(&buffer[..length]).expect("sends");
            let length = back.recv(&mut buffer).expect("an answer");
            front.send_to(&buffer[..length], client).expect("sends");
        }
    });
    Some(std::net::SocketAddrV4::new(own, port))
}
