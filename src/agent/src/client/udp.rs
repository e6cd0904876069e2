//! One datagram to an agent's UDP port and its echo.

use crate::{
    attempt::{Attempt, Peer},
    echo::{Question, Reply, UDP_HEADER, UdpAnswer},
    failure::Failure,
    payload::{Pattern, random},
    socket,
};
use meshproof_contract::Outcome;
use std::net::SocketAddr;

/// The largest payload of a UDP datagram over IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

pub(super) async fn echo(
    attempt: &mut Attempt,
    to: SocketAddr,
    pattern: Pattern,
    payload: u32,
) -> Result<Outcome, Failure> {
    let size = (payload as usize).max(UDP_HEADER);
    if size > MAX_DATAGRAM {
        return Err(Failure::Local(format!(
            "a datagram carries at most {MAX_DATAGRAM} bytes, not {size}"
        )));
    }
    let question = Question {
        sequence: random(),
        reply: Reply::Plain,
    };
    let mut request = pattern.bytes(0, size);
    question.write(&mut request);
    let socket = socket::connected_udp(to).await?;
    socket::send(&socket, &request).await?;
    // Large enough to notice an answer that grew.
    let mut buffer = vec![0; (size + 4096).min(MAX_DATAGRAM + 1)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Some(answer) = UdpAnswer::read(&buffer[..length], &request) else {
            return Err(Failure::Corrupted(
                "the answer is not from an agent's UDP port".to_owned(),
            ));
        };
        if answer.sequence != question.sequence {
            continue;
        }
        attempt.first_byte();
        return match answer.card {
            Some(card) if answer.intact => Ok(attempt.answered(
                Peer {
                    identity: Some(card.identity),
                    source: Some(card.source),
                },
                None,
                size as u64,
            )),
            _ => Err(Failure::Corrupted(format!(
                "the echo of a datagram of {size} bytes differs"
            ))),
        };
    }
}
