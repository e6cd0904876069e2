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
