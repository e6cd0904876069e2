//! The private protocol of the agents' TCP and UDP ports, as bytes. No I/O.
//!
//! TCP: a request is `MPT1` and a length; the answer is `MPA1`, the length of a card and the card, then the request's
//! bytes as they come. A connection carries any number of requests, one after another.
//!
//! UDP: a request is `MPQ1`, flags and a sequence number, then filling. The answer has at least the request's size: a
//! card lies over the first bytes of the filling, with a checksum of what it covers, and the rest comes back as it was.
//! So that a datagram of a path's full size is answered by one of the same size, and still every byte is accounted for.

use meshproof_contract::Identity;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a server reports about itself, its client and, if asked, its path back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) identity: Identity,
    pub(crate) source: IpAddr,
    /// MTU of the server's path back to the client, where that is too small for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
}

const TCP_REQUEST: &[u8; 4] = b"MPT1";
const TCP_ANSWER: &[u8; 4] = b"MPA1";
const UDP_REQUEST: &[u8; 4] = b"MPQ1";
const UDP_ANSWER: &[u8; 4] = b"MPR1";

/// Bytes of a TCP request's header, and of the fixed part of its answer.
pub(crate) const TCP_HEADER: usize = 8;
/// The largest card.
pub(crate) const MAX_CARD: usize = 2048;
/// Bytes of a UDP request's header: the smallest request.
pub(crate) const UDP_HEADER: usize = 16;
const UDP_ANSWER_HEADER: usize = 28;

/// The header of a TCP request of `length` bytes.
pub(crate) fn tcp_request(length: u32) -> [u8; TCP_HEADER] {
    header(TCP_REQUEST, length)
}

/// The length in a TCP request's header; none if it is another header.
pub(crate) fn tcp_request_length(bytes: &[u8; TCP_HEADER]) -> Option<u32> {
    length_after(TCP_REQUEST, bytes)
}

/// The beginning of the answer to a TCP request.
pub(crate) fn tcp_answer(card: &Card) -> Vec<u8> {
    let card = card_bytes(card);
    let mut answer = header(TCP_ANSWER, card.len() as u32).to_vec();
    answer.extend(card);
    answer
}

/// The length of the card after this answer's header; none if it is another header.
pub(crate) fn tcp_answer_card(bytes: &[u8; TCP_HEADER]) -> Option<usize> {
    length_after(TCP_ANSWER, bytes)
        .map(|length| length as usize)
        .filter(|length| *length <= MAX_CARD)
}

fn header(magic: &[u8; 4], length: u32) -> [u8; TCP_HEADER] {
    let mut header = [0; TCP_HEADER];
    header[..4].copy_from_slice(magic);
    header[4..].copy_from_slice(&length.to_be_bytes());
    header
}

fn length_after(magic: &[u8; 4], bytes: &[u8; TCP_HEADER]) -> Option<u32> {
    let (head, length) = bytes.split_first_chunk::<4>()?;
    (head == magic).then(|| u32::from_be_bytes(*length.first_chunk().unwrap_or(&[0; 4])))
}

fn card_bytes(card: &Card) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(card).unwrap_or_default();
    // Names of Kubernetes objects are far shorter; a card that does not fit is left out rather than cut.
    if bytes.len() > MAX_CARD {
        bytes.clear();
    }
    bytes
}

/// How a UDP request wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// As an application would: fragmented if need be.
    Plain,
    /// With the don't-fragment bit.
    Unfragmented,
    /// The same again after silence: besides, report if the server's kernel knows a smaller MTU for the way back.
    UnfragmentedOrReported,
}

impl Reply {
    fn flag(self) -> u8 {
        match self {
            Reply::Plain => 0,
            Reply::Unfragmented => 1,
            Reply::UnfragmentedOrReported => 3,
        }
    }
    fn of(flag: u8) -> Self {
        match flag & 3 {
            1 => Reply::Unfragmented,
            3 => Reply::UnfragmentedOrReported,
            _ => Reply::Plain,
        }
    }
}

/// What the header of a UDP request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) sequence: u64,
    pub(crate) reply: Reply,
}

impl Question {
    /// Writes the header over the first bytes of a datagram of at least [`UDP_HEADER`] bytes.
    pub(crate) fn write(self, datagram: &mut [u8]) {
        datagram[..4].copy_from_slice(UDP_REQUEST);
        datagram[4..8].copy_from_slice(&[self.reply.flag(), 0, 0, 0]);
        datagram[8..16].copy_from_slice(&self.sequence.to_be_bytes());
    }
    /// Reads the header; none if it is not a request.
    pub(crate) fn read(datagram: &[u8]) -> Option<Self> {
        let header: &[u8; UDP_HEADER] = datagram.first_chunk()?;
        (&header[..4] == UDP_REQUEST).then(|| Self {
            reply: Reply::of(header[4]),
            sequence: u64::from_be_bytes([
                header[8], header[9], header[10], header[11], header[12], header[13], header[14], header[15],
            ]),
        })
    }
}

/// The answer to the datagram whose question was read: at least its size.
pub(crate) fn udp_answer(question: Question, request: &[u8], card: &Card) -> Vec<u8> {
    let card = card_bytes(card);
    let covered = (UDP_ANSWER_HEADER + card.len()).min(request.len());
    let mut answer = Vec::with_capacity(request.len().max(UDP_ANSWER_HEADER + card.len()));
    answer.extend(UDP_ANSWER);
    answer.extend((card.len() as u32).to_be_bytes());
    answer.extend((request.len() as u32).to_be_bytes());
    answer.extend(question.sequence.to_be_bytes());
    answer.extend(crate::payload::checksum(&request[..covered]).to_be_bytes());
    answer.extend(card);
    answer.extend(&request[covered..]);
    answer
}

/// A UDP answer taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UdpAnswer {
    pub(crate) sequence: u64,
    pub(crate) card: Option<Card>,
    /// Whether every byte of `request` came through both ways.
    pub(crate) intact: bool,
}

impl UdpAnswer {
    /// Reads an answer and compares it with the request that it should answer; none if it is not an answer.
    pub(crate) fn read(datagram: &[u8], request: &[u8]) -> Option<Self> {
        let header: &[u8; UDP_ANSWER_HEADER] = datagram.first_chunk()?;
        if &header[..4] != UDP_ANSWER {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let end = UDP_ANSWER_HEADER + (word(4) as usize).min(MAX_CARD);
        let card: Option<Card> = datagram
            .get(UDP_ANSWER_HEADER..end)
            .and_then(|card| serde_json::from_slice(card).ok());
        let covered = end.min(request.len());
        let intact = word(8) as usize == request.len()
            && long(20) == crate::payload::checksum(&request[..covered])
            && datagram.get(end..) == Some(&request[covered..])
            && card.is_some();
        Some(Self {
            sequence: long(12),
            card,
            intact,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn card() -> Card {
        Card {
            identity: Identity {
                cluster: "infra".into(),
                node: "infra-1".into(),
                namespace: "meshproof".into(),
                pod: "server-abcde".into(),
            },
            source: [10, 244, 1, 7].into(),
            mtu: None,
        }
    }

    fn request(size: usize, sequence: u64) -> (Question, Vec<u8>) {
        let question = Question {
            sequence,
            reply: Reply::Unfragmented,
        };
        let mut datagram = crate::payload::Pattern::Random(sequence).bytes(0, size);
        question.write(&mut datagram);
        (question, datagram)
    }

    proptest! {
        #[test]
        fn an_answer_is_never_smaller_and_intact(size in UDP_HEADER..3000, sequence: u64) {
            let (question, request) = request(size, sequence);
            prop_assert_eq!(Question::read(&request), Some(question));
            let answer = udp_answer(question, &request, &card());
            prop_assert!(answer.len() >= request.len());
            if request.len() >= 576 - 28 {
                prop_assert_eq!(answer.len(), request.len());
            }
            let expected = UdpAnswer { sequence, card: Some(card()), intact: true };
            prop_assert_eq!(UdpAnswer::read(&answer, &request), Some(expected));
        }

        #[test]
        fn a_garbled_answer_is_not_intact(size in UDP_HEADER..1500, at: prop::sample::Index, bit in 0u8..8) {
            let (question, request) = request(size, 9);
            let mut answer = udp_answer(question, &request, &card());
            let at = at.index(answer.len());
            answer[at] ^= 1 << bit;
            if let Some(read) = UdpAnswer::read(&answer, &request) {
                prop_assert!(!read.intact || read.sequence != 9 || read.card != Some(card()));
            }
        }

        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            other in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            Question::read(&bytes);
            UdpAnswer::read(&bytes, &other);
            let mut framed = UDP_ANSWER.to_vec();
            framed.extend(&bytes);
            UdpAnswer::read(&framed, &other);
        }
    }

    #[test]
    fn tcp_headers_are_distinguished() {
        assert_eq!(tcp_request_length(&tcp_request(77)), Some(77));
        assert_eq!(tcp_answer_card(&tcp_request(77)), None);
        let answer = tcp_answer(&card());
        let head = answer.first_chunk().expect("a header");
        assert_eq!(tcp_answer_card(head), Some(answer.len() - TCP_HEADER));
    }
}
