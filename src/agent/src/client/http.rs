//! HTTP/1.1 exchanges, on a new connection each or on one that a series shares.

mod body;

use super::{resolve, tcp};
use crate::{
    attempt::{Attempt, Peer},
    failure::Failure,
    identity,
    payload::Pattern,
    resolver::Resolver,
};
use body::PatternBody;
use http_body_util::BodyExt;
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use meshproof_contract::{Outcome, Target, probe::Connection};
use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
};
use tokio_util::task::AbortOnDropHandle;

/// More than this of a body that is not an echo is not waited for.
const MAX_BODY: u64 = 16 << 20;

/// The connection of a series, if it shares one.
pub(crate) struct HttpSession {
    connection: Connection,
    open: Option<Open>,
    connections: u32,
}

struct Open {
    sender: SendRequest<PatternBody>,
    address: IpAddr,
    _driver: AbortOnDropHandle<()>,
}

/// A request as asked for, checked.
pub(super) struct HttpRequest {
    request: Request<PatternBody>,
    pattern: Pattern,
    body: u32,
    echo: bool,
}

impl HttpRequest {
    pub(super) fn new(
        to: &Target,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: u32,
    ) -> Result<Self, Failure> {
        let pattern = Pattern::fresh();
        let host = if to.port == 80 {
            Target::new(&to.host, 80).host
        } else {
            to.to_string()
        };
        let mut builder = Request::builder().method(method).uri(path);
        if let Some(all) = builder.headers_mut() {
            for (name, value) in headers {
                let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
                let (name, value) =
                    parsed.ok_or_else(|| Failure::Local(format!("invalid HTTP header {name:?}: {value:?}")))?;
                all.append(name, value);
            }
            if !all.contains_key(HOST)
                && let Ok(host) = HeaderValue::try_from(host)
            {
                all.insert(HOST, host);
            }
        }
        let request = builder
            .body(PatternBody::new(pattern, body))
            .map_err(|error| Failure::Local(format!("invalid HTTP request {method} {path}: {error}")))?;
        let echo = request.uri().path() == "/echo" && body > 0;
        Ok(Self {
            request,
            pattern,
            body,
            echo,
        })
    }
}

impl HttpSession {
    /// No connection yet.
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            open: None,
            connections: 0,
        }
    }
    /// How many connections it has opened so far.
    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }
    /// Whether exchanges follow one another on its connection.
    pub(crate) fn is_shared(&self) -> bool {
        self.connection == Connection::KeepAlive
    }
    /// Forgets the connection: after a failure it cannot be used.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// The connection of the exchange before, unless the server closed it meanwhile: then a new one is opened, as an
    /// application's pool does.
    async fn reopen(&mut self) -> Option<Open> {
        let mut open = self.open.take()?;
        open.sender.ready().await.ok().map(|()| open)
    }

    pub(super) async fn exchange(
        &mut self,
        attempt: &mut Attempt,
        resolver: &Resolver,
        to: &Target,
        request: HttpRequest,
    ) -> Result<Outcome, Failure> {
        let mut open = match self.reopen().await {
            Some(open) => {
                attempt.reused(open.address);
                open
            }
            None => {
                let to = resolve(attempt, resolver, to).await?;
                self.connections += 1;
                open(attempt, to).await?
            }
        };
        let outcome = send(attempt, &mut open.sender, request).await?;
        if self.connection == Connection::KeepAlive {
            self.open = Some(open);
        }
        Ok(outcome)
    }
}

async fn open(attempt: &mut Attempt, to: SocketAddr) -> Result<Open, Failure> {
    let stream = tcp::open(attempt, to).await?;
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failure(&error))?;
    let driver = tokio::spawn(async move {
        // Its error reaches the request that it concerns.
        let _ = connection.await;
    });
    Ok(Open {
        sender,
        address: to.ip(),
        _driver: AbortOnDropHandle::new(driver),
    })
}

async fn send(
    attempt: &mut Attempt,
    sender: &mut SendRequest<PatternBody>,
    request: HttpRequest,
) -> Result<Outcome, Failure> {
    let HttpRequest {
        request,
        pattern,
        body,
        echo,
    } = request;
    let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
    attempt.first_byte();
    let peer: Peer = identity::from_headers(response.headers());
    let status = response.status();
    // Only an agent's own success is compared: a proxy's refusal has a body of its own.
    let compare = echo && status.is_success() && peer.identity.is_some();
    let mut content = response.into_body();
    let mut at = 0;
    while let Some(frame) = content.frame().await {
        let frame = frame.map_err(|error| failure(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        attempt.received(data.len());
        if compare {
            if at + data.len() as u64 > u64::from(body) {
                return Err(Failure::Corrupted(format!(
                    "the echo is longer than the {body} bytes sent"
                )));
            }
            if let Some(position) = pattern.difference(at, data) {
                return Err(Failure::Corrupted(format!(
                    "byte {position} of {body} differs in the echo"
                )));
            }
        }
        at += data.len() as u64;
        if at > MAX_BODY {
            return Err(Failure::Corrupted(format!("the body exceeds {MAX_BODY} bytes")));
        }
    }
    if compare && at < u64::from(body) {
        return Err(Failure::Corrupted(format!("the echo ended after {at} of {body} bytes")));
    }
    let bytes = if compare { at } else { 0 };
    Ok(attempt.answered(peer, Some(status.as_u16()), bytes))
}

fn failure(error: &hyper::Error) -> Failure {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Failure::Io(match io.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(io.kind(), io.to_string()),
            });
        }
        source = cause.source();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Failure::Closed
    } else if error.is_parse() {
        Failure::Corrupted(format!("the answer is not HTTP: {error}"))
    } else if error.is_user() {
        Failure::Local(error.to_string())
    } else {
        Failure::Corrupted(error.to_string())
    }
}
