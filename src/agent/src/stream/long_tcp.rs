//! One long-lived TCP connection with pings on it, sent on schedule whether or not earlier ones were answered.

mod answers;

use crate::{
    attempt::{Attempt, ByName, Peer},
    echo,
    failure::Failure,
    payload::Pattern,
    resolver::Resolver,
    socket,
    stream::record::SharedRecord,
    ticker::Ticker,
};
use answers::AnswerStream;
use meshproof_contract::Target;
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// A connection on which nothing came for so long, though pings are out, is given up, as an application's own timeout
/// would. Till then TCP may recover by itself, which is what this stream is to show.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that wait for a stalled connection; further pings are not put onto it.
const MOST_OUTGOING: usize = 1 << 20;

/// What to send.
pub(super) struct Pings {
    pub(super) to: Target,
    pub(super) payload: u32,
    pub(super) probes: u32,
    pub(super) deadline: Duration,
}

/// A ping whose answer is outstanding. It stays after its deadline, since its answer may still come and must not be
/// taken for another.
struct Ping {
    number: u64,
    late: Duration,
    attempt: Attempt,
    pattern: Pattern,
    known: bool,
    written: bool,
}

type Connecting = Pin<Box<dyn Future<Output = Result<(TcpStream, IpAddr), Failure>> + Send>>;

enum Link {
    Down,
    Connecting { connecting: Connecting, until: Instant },
    Up(Box<Up>),
}

struct Up {
    stream: TcpStream,
    address: IpAddr,
    outgoing: VecDeque<u8>,
    answers: AnswerStream,
    heard: Instant,
}

/// What happened on the link.
enum News {
    Connected(TcpStream, IpAddr),
    Answered(echo::Card, Vec<u8>),
    Nothing,
    Broken(Failure),
}

pub(super) async fn run(
    pings: Pings,
    ticker: &mut Ticker,
    resolver: &Resolver,
    record: &SharedRecord,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut conversation = Conversation {
        link: Link::Down,
        outstanding: VecDeque::new(),
        connections: 0,
        pings,
        resolver,
        record,
    };
    let mut number = 0;
    let mut sending = true;
    while sending || conversation.has_unknown() {
        let due = ticker.due(number);
        let expiry = conversation.expiry();
        tokio::select! {
            biased;
            () = stop.cancelled(), if sending => sending = false,
            news = conversation.link.news(conversation.pings.payload) => conversation.take(news),
            waited = ticker.wait_until(due), if sending => {
                waited?;
                let late = record.sent(due);
                conversation.ping(number, due, late);
                number += 1;
                sending = number < conversation.pings.probes;
            }
            () = sleep_until(expiry.unwrap_or(due)), if expiry.is_some() => conversation.expire(),
        }
    }
    Ok(())
}

struct Conversation<'a> {
    link: Link,
    outstanding: VecDeque<Ping>,
    connections: u32,
    pings: Pings,
    resolver: &'a Resolver,
    record: &'a SharedRecord,
}

impl Conversation<'_> {
    fn has_unknown(&self) -> bool {
        self.outstanding.iter().any(|ping| !ping.known)
    }

    /// When the next ping's time is up.
    fn expiry(&self) -> Option<Instant> {
        self.outstanding
            .iter()
            .find(|ping| !ping.known)
            .map(|ping| ping.attempt.deadline())
    }

    fn ping(&mut self, number: u32, due: Instant, late: Duration) {
        let mut ping = Ping {
            number: u64::from(number),
            late,
            attempt: Attempt::new(due, self.pings.deadline + late),
            pattern: Pattern::fresh(),
            known: false,
            written: false,
        };
        if let Ok(address) = self.pings.to.host.parse() {
            ping.attempt.resolved(address, ByName::No);
        }
        self.outstanding.push_back(ping);
        match &mut self.link {
            Link::Up(_) => self.write_waiting(),
            Link::Connecting { .. } => {}
            Link::Down => self.connect(),
        }
    }

    fn connect(&mut self) {
        let (to, resolver) = (self.pings.to.clone(), self.resolver.clone());
        self.connections += 1;
        self.record.connections(self.connections);
        self.link = Link::Connecting {
            connecting: Box::pin(async move {
                let address = match to.host.parse() {
                    Ok(address) => address,
                    Err(_) => *resolver.addresses(&to.host).await?.first().ok_or(Failure::Name(None))?,
                };
                let stream = socket::connect_tcp(SocketAddr::new(address, to.port)).await?;
                Ok((stream, address))
            }),
            // A new attempt starts with a new SYN: the kernel's own second one would come only after a second.
            until: Instant::now() + self.pings.deadline,
        };
    }

    /// Puts the pings that wait for a connection onto it.
    fn write_waiting(&mut self) {
        let Link::Up(up) = &mut self.link else { return };
        for ping in self.outstanding.iter_mut().filter(|ping| !ping.written && !ping.known) {
            if up.outgoing.len() > MOST_OUTGOING {
                break;
            }
            ping.attempt.reused(up.address);
            ping.written = true;
            up.outgoing.extend(echo::tcp_request(self.pings.payload));
            up.outgoing.extend(ping.pattern.bytes(0, self.pings.payload as usize));
        }
        if let Err(error) = up.write() {
            self.fail(&error.into());
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Nothing => {}
            News::Broken(failure) => self.fail(&failure),
            News::Connected(stream, address) => {
                self.link = Link::Up(Box::new(Up {
                    stream,
                    address,
                    outgoing: VecDeque::new(),
                    answers: AnswerStream::default(),
                    heard: Instant::now(),
                }));
                // What expired while there was no connection will not be asked any more.
                self.outstanding.retain(|ping| !ping.known);
                self.write_waiting();
            }
            News::Answered(card, payload) => {
                let Some(mut ping) = self.outstanding.pop_front() else {
                    return self.fail(&Failure::Corrupted("received an answer without a request".to_owned()));
                };
                if ping.known {
                    return;
                }
                ping.attempt.first_byte();
                let outcome = match ping.pattern.difference(0, &payload) {
                    None => {
                        let peer = Peer {
                            identity: Some(card.identity),
                            source: Some(card.source),
                        };
                        ping.attempt.answered(peer, None, payload.len() as u64)
                    }
                    Some(at) => ping
                        .attempt
                        .failed(Failure::Corrupted(format!("byte {at} of a ping differs in its echo"))),
                };
                self.record.put(ping.number, ping.late, outcome);
            }
        }
    }

    /// The connection, or the attempt to make one, ended so: all pings on it fail, and the next one opens a new
    /// connection.
    fn fail(&mut self, failure: &Failure) {
        for ping in self.outstanding.drain(..).filter(|ping| !ping.known) {
            self.record
                .put(ping.number, ping.late, ping.attempt.failed(failure.again()));
        }
        self.link = Link::Down;
    }

    /// The time of some pings is up.
    fn expire(&mut self) {
        let now = Instant::now();
        for ping in self.outstanding.iter_mut() {
            if !ping.known && ping.attempt.deadline() <= now {
                ping.known = true;
                self.record.put(ping.number, ping.late, ping.attempt.expired());
            }
        }
        // What was never asked will not be answered.
        self.outstanding.retain(|ping| ping.written || !ping.known);
        let oldest = self.outstanding.front().map(|ping| ping.attempt.started());
        let given_up = match &self.link {
            Link::Down => false,
            Link::Connecting { until, .. } => *until <= now,
            Link::Up(up) => oldest.is_some_and(|oldest| oldest.max(up.heard) + PATIENCE <= now),
        };
        if given_up {
            self.link = Link::Down;
            self.outstanding.retain(|ping| !ping.known);
            if self.has_unknown() {
                self.outstanding.iter_mut().for_each(|ping| ping.written = false);
                self.connect();
            }
        }
    }
}

impl Link {
    /// What happens next; for ever pending while there is no connection. Nothing is lost if it is dropped.
    async fn news(&mut self, payload: u32) -> News {
        match self {
            Link::Down => std::future::pending().await,
            Link::Connecting { connecting, .. } => match connecting.await {
                Ok((stream, address)) => News::Connected(stream, address),
                Err(failure) => News::Broken(failure),
            },
            Link::Up(up) => up.news(payload as usize).await,
        }
    }
}

impl Up {
    async fn news(&mut self, payload: usize) -> News {
        match self.answers.next(payload) {
            Err(failure) => return News::Broken(failure),
            Ok(Some((card, payload))) => return News::Answered(card, payload),
            Ok(None) => {}
        }
        let interest = if self.outgoing.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let ready = match self.stream.ready(interest).await {
            Ok(ready) => ready,
            Err(error) => return News::Broken(error.into()),
        };
        if ready.is_readable() {
            let mut buffer = [0; 4096];
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return News::Broken(Failure::Closed),
                Ok(n) => {
                    self.heard = Instant::now();
                    self.answers.push(&buffer[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return News::Broken(error.into()),
            }
        }
        if ready.is_writable()
            && let Err(error) = self.write()
        {
            return News::Broken(error.into());
        }
        News::Nothing
    }

    /// Writes what the kernel takes now.
    fn write(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.try_write(self.outgoing.as_slices().0) {
                Ok(n) => drop(self.outgoing.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
