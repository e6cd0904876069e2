//! Questions from every asker, judged against what the API says, and told in as few findings as say where it is wrong.

use super::zone::Zone;
use crate::kit::matrix::place;
use crate::kit::next_steps;
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, CheckContext, DnsAnswer, DnsCode, Environment, EnvironmentError, Outcome, Probe, Tally,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A question and the answer that the API says is right.
#[derive(Clone)]
pub struct Question {
    /// For people: the name as asked, over what, to whom.
    pub label: String,
    /// The probe.
    pub probe: Probe,
    /// The right answer.
    pub expected: Expected,
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
}

impl Expected {
    /// Exactly one address.
    pub fn address(address: IpAddr) -> Self {
        Expected::Addresses(BTreeSet::from([address]))
    }

    fn describe(&self) -> String {
        match self {
            Expected::Addresses(addresses) => {
                let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("NOERROR with exactly [{}], as the API says", list.join(", "))
            }
            Expected::Name(name) => format!("NOERROR with exactly {name}"),
            Expected::Service(target, port) => format!("NOERROR with exactly {target}:{port}"),
            Expected::Absent => "NXDOMAIN, since no such service exists".to_owned(),
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
        }
    }
}

/// What one answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The right one, in so many microseconds.
    Right(u64),
    /// None, or a server failure: asked again before it counts.
    Silent(String),
    /// Another one.
    Wrong(String),
    /// Could not be observed.
    Unknown(String),
}

/// Judges an outcome.
pub fn judge(zone: &Zone, expected: &Expected, outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Dns {
            code, answers, timing, ..
        } => match (code, expected) {
            (DnsCode::NxDomain, Expected::Absent) => Answer::Right(timing.total),
            (DnsCode::NoError, _) if expected.is_met(answers) => Answer::Right(timing.total),
            (DnsCode::ServFail, _) => Answer::Silent("SERVFAIL".to_owned()),
            (DnsCode::NoError, _) if answers.is_empty() => Answer::Wrong("NOERROR without any record".to_owned()),
            (DnsCode::NoError, _) => {
                let list: Vec<String> = answers
                    .iter()
                    .map(|answer| match answer {
                        DnsAnswer::Address(address) => zone.owner(*address),
                        other => other.to_string(),
                    })
                    .collect();
                Answer::Wrong(format!("NOERROR with [{}]", list.join(", ")))
            }
            (code, _) => Answer::Wrong(code.to_string()),
        },
        Outcome::LocalError { reason } => Answer::Unknown(format!("the agent could not try: {reason}")),
        Outcome::Timeout { .. } | Outcome::Stalled { .. } | Outcome::NameError { code: None, .. } => {
            Answer::Silent("no answer from the DNS server".to_owned())
        }
        Outcome::Refused { .. } => Answer::Silent("refused: nothing listens on the DNS port".to_owned()),
        Outcome::Reset { .. }
        | Outcome::Closed { .. }
        | Outcome::Unreachable { .. }
        | Outcome::NameError { .. }
        | Outcome::Corrupted { .. } => Answer::Silent(outcome.to_string()),
        _ => Answer::Unknown(format!(
            "the agent answered something else than it was asked: {outcome}"
        )),
    }
}

/// Asks every question from every asker, again where there was silence, and tallies. Returns the right answers' times.
pub async fn ask(context: &CheckContext, zone: &Zone, questions: &[Question], tally: &mut Tally) -> Vec<u64> {
    zone.note_missing(tally);
    let environment = context.environment.as_ref();
    let rows = join_all(zone.askers.iter().map(|asker| row(environment, zone, asker, questions))).await;
    let mut times = Vec::new();
    for (number, question) in questions.iter().enumerate() {
        let mut groups: BTreeMap<String, Vec<&AgentFacts>> = BTreeMap::new();
        let mut right = 0;
        for (asker, row) in zone.askers.iter().zip(&rows) {
            match &row[number] {
                Answer::Right(micros) => {
                    right += 1;
                    times.push(*micros);
                }
                Answer::Silent(what) | Answer::Wrong(what) => groups.entry(what.clone()).or_default().push(asker),
                Answer::Unknown(why) => tally.unknown(format!("{} from {}: {why}", question.label, place(asker))),
            }
        }
        if right > 0 {
            let all = zone.askers.len();
            tally.witness(format!(
                "{} from {right} of {all} nodes: {}",
                question.label,
                question.expected.describe()
            ));
        }
        for (what, askers) in groups {
            let from = if askers.len() == zone.askers.len() && askers.len() > 1 {
                format!("all {} nodes of {}", askers.len(), context.instance.from())
            } else {
                askers.iter().map(|a| place(a)).collect::<Vec<_>>().join(", ")
            };
            let others = if right > 0 {
                format!("; {right} other nodes get the right answer")
            } else {
                String::new()
            };
            tally.finding(
                format!("{} from {from}", question.label),
                question.expected.describe(),
                format!("{what}{others}"),
            );
        }
    }
    if tally.has_findings() {
        let (namespace, name) = &zone.dns.service;
        if !name.is_empty() {
            let command = format!("-n {namespace} get endpointslices -l kubernetes.io/service-name={name} -o wide");
            context.suggest(next_steps::kubectl(&zone.facts, context.instance.from(), &command));
        }
        for replica in &zone.dns.replicas {
            let command = format!("-n {namespace} logs {} --tail=50", replica.pod);
            context.suggest(next_steps::kubectl(&zone.facts, context.instance.from(), &command));
        }
    }
    times
}

async fn row(environment: &dyn Environment, zone: &Zone, asker: &AgentFacts, questions: &[Question]) -> Vec<Answer> {
    let first: Vec<&Question> = questions.iter().collect();
    let mut answers = batch(environment, zone, asker, &first).await;
    // A lost datagram is no wrong answer, and applications ask again too.
    let silent: Vec<usize> = (0..answers.len())
        .filter(|i| matches!(answers[*i], Answer::Silent(_)))
        .collect();
    if !silent.is_empty() {
        const AGAIN: usize = 3;
        let again: Vec<&Question> = silent.iter().flat_map(|i| vec![&questions[*i]; AGAIN]).collect();
        let second = batch(environment, zone, asker, &again).await;
        for (index, tries) in silent.into_iter().zip(second.chunks(AGAIN)) {
            let best = tries.iter().min_by_key(|answer| match answer {
                Answer::Wrong(_) => 0,
                Answer::Right(_) => 1,
                Answer::Unknown(_) => 2,
                Answer::Silent(_) => 3,
            });
            if let Some(best) = best {
                answers[index] = best.clone();
            }
        }
    }
    answers
}

async fn batch(environment: &dyn Environment, zone: &Zone, asker: &AgentFacts, questions: &[&Question]) -> Vec<Answer> {
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
