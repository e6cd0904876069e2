//! The answers on a connection, cut out of its bytes. No I/O.

use crate::{
    echo::{self, Card},
    failure::Failure,
};

/// Bytes received and not yet understood.
#[derive(Debug, Default)]
pub(super) struct AnswerStream(Vec<u8>);

impl AnswerStream {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// The next complete answer to a request of `payload` bytes.
    pub(super) fn next(&mut self, payload: usize) -> Result<Option<(Card, Vec<u8>)>, Failure> {
        let Some(header) = self.0.first_chunk() else {
            return Ok(None);
        };
        let card = echo::tcp_answer_card(header)
            .ok_or_else(|| Failure::Corrupted("the answer is not from an agent's TCP port".to_owned()))?;
        let body = echo::TCP_HEADER + card;
        if self.0.len() < body + payload {
            return Ok(None);
        }
        let card = serde_json::from_slice(&self.0[echo::TCP_HEADER..body])
            .map_err(|error| Failure::Corrupted(format!("cannot decode the server's identity: {error}")))?;
        let answer = self.0[body..body + payload].to_vec();
        self.0.drain(..body + payload);
        Ok(Some((card, answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::Identity;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn answers_survive_any_cut(cuts in proptest::collection::vec(1usize..50, 1..40), payload in 0usize..100) {
            let identity = Identity { cluster: "c".into(), node: "n".into(), namespace: "s".into(), pod: "p".into() };
            let card = Card { identity, source: [10, 0, 0, 1].into(), mtu: None };
            let mut bytes = Vec::new();
            for n in 0..5u8 {
                bytes.extend(echo::tcp_answer(&card));
                bytes.extend(vec![n; payload]);
            }
            let mut stream = AnswerStream::default();
            let mut found = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                stream.push(head);
                while let Some((_, answer)) = stream.next(payload).expect("answers") {
                    found.push(answer);
                }
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, (0..5u8).map(|n| vec![n; payload]).collect::<Vec<_>>());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), payload in 0usize..64) {
            let mut stream = AnswerStream::default();
            stream.push(b"MPA1\0\0\0\x02");
            stream.push(&bytes);
            let _ = stream.next(payload);
        }
    }
}
