//! Questions to DNS with the right answers, and how an answer is judged.

use super::zone::Zone;
use crate::kit::probes;
use meshproof_contract::{AgentFacts, DnsAnswer, DnsCode, Environment, EnvironmentError, Outcome, Probe};
use std::{collections::BTreeSet, net::IpAddr};

/// A question and the answer that the API says is right.
#[derive(Clone)]
pub struct Question {
    /// For people: the name as asked, over what, of which server.
    pub label: String,
    /// The probe.
    pub probe: Probe,
    /// The right answer.
    pub expected: Expected,
}

impl Question {
    /// The same with the limit of a second look.
    pub(super) fn patient(&self) -> Self {
        Self {
            probe: probes::patient(self.probe.clone()),
            ..self.clone()
        }
    }
}

/// The right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Exactly these addresses.
    Addresses(BTreeSet<IpAddr>),
    /// Exactly this name, absolute.
    Name(String),
    /// Exactly this target and port.
    Service(String, u16),
    /// NXDOMAIN.
    Absent,
    /// NOERROR without a record: the name exists, and has none of this type.
    NoRecord,
}

impl Expected {
    /// Exactly one address.
    pub fn address(address: IpAddr) -> Self {
        Expected::Addresses(BTreeSet::from([address]))
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Expected::Addresses(addresses) => {
                let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("NOERROR with exactly [{}], as in the API", list.join(", "))
            }
            Expected::Name(name) => format!("NOERROR with exactly {name}"),
            Expected::Service(target, port) => format!("NOERROR with exactly {target}:{port}"),
            Expected::Absent => "NXDOMAIN, since no such service exists".to_owned(),
            Expected::NoRecord => "NOERROR without any record, since the name has none of this type".to_owned(),
        }
    }

    fn is_met(&self, answers: &[DnsAnswer]) -> bool {
        let same = |a: &str, b: &str| a.trim_end_matches('.').eq_ignore_ascii_case(b.trim_end_matches('.'));
        match self {
            Expected::Addresses(expected) => {
                let found: Option<BTreeSet<IpAddr>> = answers
                    .iter()
                    .map(|answer| match answer {
                        DnsAnswer::Address(address) => Some(*address),
                        _ => None,
                    })
                    .collect();
                found.as_ref() == Some(expected)
            }
            Expected::Name(expected) => {
                matches!(answers, [DnsAnswer::Name(name)] if same(name, expected))
            }
            Expected::Service(expected, number) => {
                matches!(answers, [DnsAnswer::Service { target, port }] if port == number && same(target, expected))
            }
            Expected::Absent => false,
            Expected::NoRecord => answers.is_empty(),
        }
    }
}

/// What one answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The right one, in so many microseconds.
    Ok(u64),
    /// None, or a server failure: asked again before it counts.
    NoAnswer(String),
    /// Another one.
    Mismatch(String),
    /// Could not be observed.
    Unknown(String),
}

/// Judges an outcome.
pub fn judge(zone: &Zone, expected: &Expected, outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Dns {
            code, answers, timing, ..
        } => match (code, expected) {
            (DnsCode::NxDomain, Expected::Absent) => Answer::Ok(timing.total),
            (DnsCode::NoError, _) if expected.is_met(answers) => Answer::Ok(timing.total),
            (DnsCode::ServFail, _) => Answer::NoAnswer("SERVFAIL".to_owned()),
            (DnsCode::NoError, _) if answers.is_empty() => Answer::Mismatch("NOERROR without any record".to_owned()),
            (DnsCode::NoError, _) => {
                let list: Vec<String> = answers
                    .iter()
                    .map(|answer| match answer {
                        DnsAnswer::Address(address) => zone.owner(*address),
                        other => other.to_string(),
                    })
                    .collect();
                Answer::Mismatch(format!("NOERROR with [{}]", list.join(", ")))
            }
            (code, _) => Answer::Mismatch(code.to_string()),
        },
        Outcome::LocalError { reason } => Answer::Unknown(format!("the agent could not try: {reason}")),
        Outcome::Timeout { .. } | Outcome::Stalled { .. } | Outcome::NameError { code: None, .. } => {
            Answer::NoAnswer("no answer from the DNS server".to_owned())
        }
        Outcome::Refused { .. } => Answer::NoAnswer("connection refused on the DNS port".to_owned()),
        Outcome::Reset { .. }
        | Outcome::Closed { .. }
        | Outcome::Unreachable { .. }
        | Outcome::Denied { .. }
        | Outcome::NameError { .. }
        | Outcome::Corrupted { .. } => Answer::NoAnswer(outcome.to_string()),
        _ => Answer::Unknown(format!("unexpected outcome for a DNS question: {outcome}")),
    }
}

/// One agent's answers to these questions, in their order.
pub(super) async fn batch(
    environment: &dyn Environment,
    zone: &Zone,
    asker: &AgentFacts,
    questions: &[&Question],
) -> Vec<Answer> {
    let probes: Vec<Probe> = questions.iter().map(|q| q.probe.clone()).collect();
    let unknown = |error: EnvironmentError| vec![Answer::Unknown(error.to_string()); questions.len()];
    match environment.probe(&asker.id, probes).await {
        Ok(outcomes) if outcomes.len() == questions.len() => questions
            .iter()
            .zip(&outcomes)
            .map(|(question, outcome)| judge(zone, &question.expected, outcome))
            .collect(),
        Ok(outcomes) => unknown(EnvironmentError::AgentGone {
            agent: asker.id.clone(),
            reason: format!(
                "it answered {} of {} probes of a batch",
                outcomes.len(),
                questions.len()
            ),
        }),
        Err(error) => unknown(error),
    }
}
