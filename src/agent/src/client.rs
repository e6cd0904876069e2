//! The clients: one function an action, each ending in a typed outcome.

mod dns;
mod http;
mod icmp;
mod mtu;
mod tcp;
mod udp;

pub(crate) use http::HttpSession;

use crate::{
    attempt::{Attempt, ByName, Peer},
    failure::Failure,
    payload::Pattern,
    resolver::Resolver,
};
use meshproof_contract::{Action, Outcome, Target, Transport, probe::MAX_PAYLOAD};
use std::net::{IpAddr, SocketAddr};
use tokio::{net::TcpStream, time::timeout_at};

/// Carries out an action once; the outcome is known by the attempt's deadline.
///
/// `session` is the HTTP connection that a keep-alive series shares; others pass a fresh one.
pub(crate) async fn perform(
    action: &Action,
    mut attempt: Attempt,
    resolver: &Resolver,
    session: &mut HttpSession,
) -> Outcome {
    let deadline = attempt.deadline();
    let outcome = match timeout_at(deadline, dispatch(action, &mut attempt, resolver, session)).await {
        Ok(Ok(outcome)) => return outcome,
        Ok(Err(failure)) => attempt.failed(failure),
        Err(_) => attempt.expired(),
    };
    session.close();
    outcome
}

/// Connects, and keeps the connection; the outcome is known by the attempt's deadline.
pub(crate) async fn connect(to: &Target, mut attempt: Attempt, resolver: &Resolver) -> (Outcome, Option<TcpStream>) {
    let deadline = attempt.deadline();
    let opening = async {
        let to = resolve(&mut attempt, resolver, to).await?;
        tcp::open(&mut attempt, to).await
    };
    let opened = timeout_at(deadline, opening).await;
    match opened {
        Ok(Ok(stream)) => (attempt.answered(Peer::default(), None, 0), Some(stream)),
        Ok(Err(failure)) => (attempt.failed(failure), None),
        Err(_) => (attempt.expired(), None),
    }
}

/// The parts are boxed, so that thousands of probes under way need the memory of what they do and not of the largest
/// action.
async fn dispatch(
    action: &Action,
    attempt: &mut Attempt,
    resolver: &Resolver,
    session: &mut HttpSession,
) -> Result<Outcome, Failure> {
    match action {
        Action::TcpConnect { to } => {
            let to = resolve(attempt, resolver, to).await?;
            Box::pin(tcp::connect(attempt, to)).await
        }
        Action::TcpEcho { to, payload } => {
            let payload = checked(*payload)?;
            let to = resolve(attempt, resolver, to).await?;
            Box::pin(tcp::echo(attempt, to, Pattern::fresh(), payload)).await
        }
        Action::Http {
            to,
            method,
            path,
            headers,
            body,
            connection: _,
        } => {
            let request = http::HttpRequest::new(to, method, path, headers, checked(*body)?)?;
            Box::pin(session.exchange(attempt, resolver, to, request)).await
        }
        Action::UdpEcho { to, payload } => {
            let payload = checked(*payload)?;
            let to = resolve(attempt, resolver, to).await?;
            Box::pin(udp::echo(attempt, to, Pattern::fresh(), payload)).await
        }
        Action::MarkedEcho {
            to,
            transport,
            marker,
            payload,
        } => {
            let payload = checked(*payload)?;
            let pattern = Pattern::Marker(marker.0);
            let to = resolve(attempt, resolver, to).await?;
            match transport {
                Transport::Tcp => Box::pin(tcp::echo(attempt, to, pattern, payload)).await,
                Transport::Udp => Box::pin(udp::echo(attempt, to, pattern, payload)).await,
            }
        }
        Action::PathMtu { to } => {
            let to = resolve(attempt, resolver, to).await?;
            Box::pin(mtu::measure(attempt, to)).await
        }
        Action::IcmpEcho { to, payload } => Box::pin(icmp::echo(attempt, *to, checked(*payload)?)).await,
        Action::Dns {
            name,
            record,
            server,
            transport,
            search,
        } => {
            let question = dns::Question {
                name,
                record: *record,
                server: *server,
                transport: *transport,
                search: *search,
            };
            Box::pin(dns::ask(attempt, resolver, question)).await
        }
    }
}

fn checked(payload: u32) -> Result<u32, Failure> {
    if payload > MAX_PAYLOAD {
        return Err(Failure::Local(format!(
            "a payload of {payload} bytes exceeds the limit of {MAX_PAYLOAD}"
        )));
    }
    Ok(payload)
}

/// The address to go to: the first that the name has.
async fn resolve(attempt: &mut Attempt, resolver: &Resolver, to: &Target) -> Result<SocketAddr, Failure> {
    if let Ok(address) = to.host.parse::<IpAddr>() {
        attempt.resolved(address, ByName::No);
        return Ok(SocketAddr::new(address, to.port));
    }
    let addresses = Box::pin(resolver.addresses(&to.host)).await?;
    let address = *addresses.first().ok_or(Failure::Name(None))?;
    attempt.resolved(address, ByName::Yes);
    Ok(SocketAddr::new(address, to.port))
}
