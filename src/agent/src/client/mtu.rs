//! The path's MTU as packets see it: the largest that goes there and comes back unfragmented.
//!
//! A size counts as lost only when small datagrams, sent right after it, kept coming back while it never did, so that
//! neither a few per cent of loss nor a slow machine is read as a blackhole.

mod search;

use crate::{
    attempt::Attempt,
    echo::{Question, Reply, UdpAnswer},
    failure::Failure,
    payload::Pattern,
    socket::{self, Fragmentation, QueuedError},
};
use meshproof_contract::Outcome;
use search::{MtuSearch, Trial};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

/// IPv4 without options, and UDP.
const HEADERS: u32 = 28;
/// Size of the packets that must come back for the silence about another to mean something.
const CONTROL: u32 = 128;
/// So many times a size has to vanish while the control comes back: at 5 % loss each way, once in a million.
const ROUNDS: u32 = 6;
/// After so long without an answer to any small packet the path cannot be measured.
const REACH: Duration = Duration::from_secs(3);

pub(super) async fn measure(attempt: &mut Attempt, to: SocketAddr) -> Result<Outcome, Failure> {
    let IpAddr::V4(address) = to.ip() else {
        return Err(Failure::Local("path MTU is measured over IPv4 only".to_owned()));
    };
    let socket = socket::connected_udp(to).await?;
    socket::set_fragmentation(&socket, Fragmentation::Forbidden)?;
    let route = socket::route_mtu(address)?;
    let device = socket::device_mtu(socket.local_addr()?.ip(), &socket).unwrap_or(0);
    let mut path = Path {
        socket,
        sequence: crate::payload::random() >> 1,
        rtt: Duration::from_millis(100),
        // Time to report what is known before the probe's deadline says "timeout".
        deadline: attempt.deadline() - Duration::from_millis(5),
        buffer: vec![0; 1 << 16],
        news: None,
    };
    path.reach().await?;
    attempt.first_byte();

    let mut search = MtuSearch::new(route);
    while let Some(size) = search.next_size() {
        match path.send_and_wait(size).await? {
            Some(trial) => search.tried(size, trial),
            None if search.is_conclusive() => break,
            None => {
                return Err(Failure::Local(format!(
                    "the deadline is too short to find the path MTU (round trip {} ms)",
                    path.rtt.as_millis()
                )));
            }
        }
    }
    Ok(Outcome::PathMtu {
        largest: search.largest(),
        route,
        device,
        blackhole: search.blackhole(),
        reported: search.reported(),
    })
}

struct Path {
    socket: UdpSocket,
    sequence: u64,
    rtt: Duration,
    deadline: Instant,
    buffer: Vec<u8>,
    /// What ICMP reported and nobody has looked at yet: it may come out of any call on the socket.
    news: Option<u32>,
}

/// A datagram under way.
struct Sent {
    sequence: u64,
    request: Vec<u8>,
}

/// What came in.
enum Arrival {
    /// The answer to the datagram of that index, of at least its size.
    Answer(usize),
    /// A router or the server reported which size would do.
    Reported(u32),
}

impl Path {
    /// Waits for the first small answer and learns the round trip.
    async fn reach(&mut self) -> Result<(), Failure> {
        let end = self.deadline.min(Instant::now() + REACH);
        let mut gap = Duration::from_millis(50);
        let mut sent = Vec::new();
        let mut times = Vec::new();
        loop {
            times.push(Instant::now());
            sent.push(self.send(CONTROL, Reply::Unfragmented).await?);
            let until = (Instant::now() + gap).min(end);
            while let Some(arrival) = self.receive(&sent, until).await? {
                if let Arrival::Answer(index) = arrival {
                    self.rtt = times[index].elapsed();
                    return Ok(());
                }
            }
            if Instant::now() >= end {
                return Err(Failure::Silence);
            }
            gap *= 2;
        }
    }

    /// Tries one size; none when the deadline came first.
    async fn send_and_wait(&mut self, size: u32) -> Result<Option<Trial>, Failure> {
        // Indices: even are of the size, odd are controls.
        let mut sent = Vec::new();
        let mut lost = 0;
        while lost < ROUNDS {
            let reply = if lost == 0 {
                Reply::Unfragmented
            } else {
                Reply::UnfragmentedOrReported
            };
            sent.push(self.send(size, reply).await?);
            sent.push(self.send(CONTROL, Reply::Unfragmented).await?);
            // What concerns an earlier, larger size is old news.
            if let Some(mtu) = self.news.take().filter(|mtu| *mtu < size) {
                return Ok(Some(Trial::TooBig(mtu)));
            }
            let until = (Instant::now() + self.rtt * 4 + Duration::from_millis(50)).min(self.deadline);
            if let Some(trial) = self.collect(size, &sent, until, &mut lost).await? {
                return Ok(Some(trial));
            }
            if Instant::now() >= self.deadline {
                return Ok(None);
            }
        }
        // Packets may overtake each other: a last moment for the late.
        let until = (Instant::now() + self.rtt * 2 + Duration::from_millis(10)).min(self.deadline);
        let trial = self.collect(size, &sent, until, &mut ROUNDS.clone()).await?;
        Ok(Some(trial.unwrap_or(Trial::Lost)))
    }

    /// Receives until something is known, the newest control is back or `until`.
    async fn collect(
        &mut self,
        size: u32,
        sent: &[Sent],
        until: Instant,
        lost: &mut u32,
    ) -> Result<Option<Trial>, Failure> {
        let newest = sent.len() - 1;
        let last_moment = *lost >= ROUNDS;
        while let Some(arrival) = self.receive(sent, until).await? {
            match arrival {
                Arrival::Reported(mtu) if mtu < size => return Ok(Some(Trial::TooBig(mtu))),
                Arrival::Reported(_) => {}
                Arrival::Answer(index) if index % 2 == 0 => return Ok(Some(Trial::Passed)),
                Arrival::Answer(index) if index == newest && !last_moment => {
                    *lost += 1;
                    return Ok(None);
                }
                Arrival::Answer(_) => {}
            }
        }
        Ok(None)
    }

    /// Sends a packet of `size` bytes. One that this host's own stack refuses is news.
    async fn send(&mut self, size: u32, reply: Reply) -> Result<Sent, Failure> {
        self.sequence += 1;
        let mut request = Pattern::Random(self.sequence).bytes(0, (size - HEADERS) as usize);
        let question = Question {
            sequence: self.sequence,
            reply,
        };
        question.write(&mut request);
        let sent = Sent {
            sequence: self.sequence,
            request,
        };
        // A socket reports the ICMP error of an earlier datagram instead of sending: then it is sent again.
        for _ in 0..4 {
            match socket::send(&self.socket, &sent.request).await {
                Ok(()) => break,
                Err(Failure::Io(error)) => {
                    let reported = self.reported_mtu(error)?;
                    self.news = reported.or(self.news);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(sent)
    }

    /// The next arrival that means something; none at `until`.
    async fn receive(&mut self, sent: &[Sent], until: Instant) -> Result<Option<Arrival>, Failure> {
        loop {
            let length = match timeout_at(until, self.socket.recv(&mut self.buffer)).await {
                Err(_) => return Ok(None),
                Ok(Ok(length)) => length,
                Ok(Err(error)) => match self.reported_mtu(error)? {
                    Some(mtu) => return Ok(Some(Arrival::Reported(mtu))),
                    None => continue,
                },
            };
            let datagram = &self.buffer[..length];
            let found = sent.iter().enumerate().find_map(|(index, sent)| {
                let answer = UdpAnswer::read(datagram, &sent.request)?;
                (answer.sequence == sent.sequence).then_some((index, answer))
            });
            match found {
                Some((index, answer)) if answer.intact => return Ok(Some(Arrival::Answer(index))),
                Some((_, UdpAnswer { card: Some(card), .. })) if card.mtu.is_some() => {
                    return Ok(card.mtu.map(Arrival::Reported));
                }
                _ => {}
            }
        }
    }

    /// The MTU that an error reports; none if the error is a stale "too big"; other errors end the probe.
    fn reported_mtu(&self, error: io::Error) -> Result<Option<u32>, Failure> {
        let mut reported = None;
        while let Some(entry) = socket::next_error(&self.socket) {
            if let QueuedError::TooBig(mtu) = entry {
                reported = Some(mtu);
            }
        }
        match error.raw_os_error() {
            Some(nix::libc::EMSGSIZE) => Ok(reported.or(socket::path_mtu(&self.socket).ok())),
            _ => Err(error.into()),
        }
    }
}
