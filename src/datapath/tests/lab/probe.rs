//! Clients and servers on plain sockets inside namespaces.

use etherparse::PacketBuilder;
use meshproof_datapath::netns::Namespace;
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
        sockopt,
    },
    time::{TimeVal, TimeValLike},
};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

/// Long enough for any path of these tests; what takes longer has been dropped.
pub const TIMEOUT: Duration = Duration::from_millis(600);

/// Starts a TCP and a UDP server. Both first answer `<name> <client>`; TCP then echoes.
pub fn serve(namespace: &Namespace, port: u16, name: String) {
    let sockets = namespace.within(|| {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        Ok::<_, io::Error>((TcpListener::bind(any)?, UdpSocket::bind(any)?))
    });
    let (listener, socket) = sockets.expect("inside").expect("bound");
    let udp_name = name.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{udp_name} {from}").as_bytes(), from);
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let name = name.clone();
            std::thread::spawn(move || {
                stream.write_all(format!("{name} {from}\n").as_bytes())?;
                let mut buffer = vec![0; 65536];
                loop {
                    match stream.read(&mut buffer)? {
                        0 => return Ok::<_, io::Error>(()),
                        len => stream.write_all(&buffer[..len])?,
                    }
                }
            });
        }
    });
}

/// A UDP socket inside, with the usual timeout.
pub fn udp(namespace: &Namespace) -> UdpSocket {
    let socket = namespace
        .within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .expect("inside")
        .expect("bound");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    socket
}

/// One datagram and its answer, as `(server, client as the server saw it)`.
pub fn ask_udp(namespace: &Namespace, to: SocketAddrV4) -> io::Result<(String, SocketAddr)> {
    ask_from(&udp(namespace), to)
}

pub fn ask_from(socket: &UdpSocket, to: SocketAddrV4) -> io::Result<(String, SocketAddr)> {
    socket.connect(to)?;
    socket.send(b"who are you?")?;
    let mut buffer = [0; 256];
    let len = socket.recv(&mut buffer)?;
    Ok(parse(&buffer[..len]))
}

fn parse(answer: &[u8]) -> (String, SocketAddr) {
    let answer = String::from_utf8_lossy(answer);
    let (server, client) = answer.trim_end().split_once(' ').expect("server and client");
    (server.to_owned(), client.parse().expect("an address"))
}

/// A connection, within the usual timeout.
pub fn connect(namespace: &Namespace, to: SocketAddrV4) -> io::Result<TcpStream> {
    let stream = namespace
        .within(|| TcpStream::connect_timeout(&to.into(), TIMEOUT))
        .expect("inside")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection and the server's greeting.
pub fn ask_tcp(namespace: &Namespace, to: SocketAddrV4) -> io::Result<(String, SocketAddr)> {
    greeting(&mut connect(namespace, to)?)
}

pub fn greeting(stream: &mut TcpStream) -> io::Result<(String, SocketAddr)> {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(parse(&line))
}

/// Sends so many bytes and reads them back; fails if they differ.
pub fn echo(stream: &mut TcpStream, len: usize) -> io::Result<()> {
    let payload: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
    let mut writer = stream.try_clone()?;
    let sent = payload.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent));
    let mut back = vec![0; len];
    let read = stream.read_exact(&mut back);
    let ended = matches!(&read, Err(error) if error.kind() == io::ErrorKind::UnexpectedEof);
    if read.is_ok() || ended {
        // A reset is told once, to whoever calls first: the reader sees the end then.
        writing.join().expect("the writer does not panic")?;
    }
    read?;
    if back == payload {
        Ok(())
    } else {
        Err(io::Error::other("the echo differs"))
    }
}

/// One ICMP echo of `payload` bytes; the time it took.
pub fn ping(namespace: &Namespace, to: Ipv4Addr, payload: usize) -> io::Result<Duration> {
    let socket = namespace.within(|| {
        socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Icmp,
        )
        .map_err(io::Error::from)
    });
    let socket = socket.expect("inside")?;
    setsockopt(
        &socket,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(TIMEOUT.as_millis() as i64),
    )?;
    let mut request = Vec::new();
    let id = std::process::id() as u16 ^ 0x5a5a;
    let builder = PacketBuilder::ipv4([0; 4], [0; 4], 64).icmpv4_echo_request(id, 1);
    builder.write(&mut request, &vec![0x42; payload]).expect("a packet");
    let start = Instant::now();
    sendto(
        socket.as_raw_fd(),
        &request[20..],
        &SockaddrIn::from(SocketAddrV4::new(to, 0)),
        MsgFlags::empty(),
    )?;
    let mut buffer = vec![0; 65536];
    loop {
        let len = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let is_reply = len >= 28 && buffer[20] == 0 && buffer[24..26] == id.to_be_bytes();
        if is_reply && buffer[12..16] == to.octets() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > TIMEOUT {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Whether an error is the silence of a dropped packet.
pub fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
