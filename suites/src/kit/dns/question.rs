//! Questions from every node, judged against what the API says, in as few findings as say where the answers are wrong.

use super::{silent, zone::Zone};
use crate::kit::{
    next_steps, observers,
    probes::{self, BETWEEN_LOOKS, SECOND_LOOKS},
};
use futures::future::join_all;
use meshproof_contract::{
    AgentFacts, CheckContext, DnsAnswer, DnsCode, Environment, EnvironmentError, NodeLabel, Outcome, Probe, Tally,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};
use tokio::time::sleep;

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

    fn describe(&self) -> String {
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

/// Asks every question from every node, again where no answer came, and tallies. Returns the answers by node, in the
/// order of the zone's askers, and for each in the order of the questions.
pub async fn ask(context: &CheckContext, zone: &Zone, questions: &[Question], tally: &mut Tally) -> Vec<Vec<Answer>> {
    zone.note_missing(tally);
    let environment = context.environment.as_ref();
    let rows = join_all(zone.askers.iter().map(|asker| row(environment, zone, asker, questions))).await;
    let silent = silent::replicas(context, zone, questions, &rows).await;
    for (number, question) in questions.iter().enumerate() {
        let answers: Vec<&Answer> = rows.iter().map(|row| &row[number]).collect();
        conclude(context, zone, question, (&answers, silent.as_deref()), tally);
    }
    if tally.has_findings() {
        suggest(context, zone);
    }
    rows
}

/// Tallies the answers to one question: one witness, and one finding for each kind of wrong answer. `silent`: what is
/// known of replicas that do not answer.
fn conclude(
    context: &CheckContext,
    zone: &Zone,
    question: &Question,
    (answers, silent): (&[&Answer], Option<&str>),
    tally: &mut Tally,
) {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut ok = 0;
    for (asker, answer) in zone.askers.iter().map(NodeLabel::from).zip(answers) {
        match answer {
            Answer::Ok(_) => ok += 1,
            Answer::NoAnswer(what) => {
                let what = silent.map_or_else(|| what.clone(), |silent| format!("{what}: {silent}"));
                groups.entry(what).or_default().push(asker.to_string());
            }
            Answer::Mismatch(what) => groups.entry(what.clone()).or_default().push(asker.to_string()),
            Answer::Unknown(why) => tally.unknown(format!("{} from {asker}: {why}", question.label)),
        }
    }
    let all = zone.askers.len();
    if ok > 0 {
        let expected = question.expected.describe();
        tally.witness(format!("{} from {ok} of {all} nodes: {expected}", question.label));
    }
    let unable = answers
        .iter()
        .filter(|answer| matches!(answer, Answer::Unknown(_)))
        .count();
    if let Some(why) = observers::too_few(unable, all) {
        for what in groups.keys() {
            tally.unknown(format!("{}: {what}, but {why}", question.label));
        }
        return;
    }
    for (what, askers) in groups {
        let from = if askers.len() == all && all > 1 {
            format!("all {all} nodes of {}", context.instance.from())
        } else {
            askers.join(", ")
        };
        let others = if ok > 0 {
            format!("; {ok} other nodes get the right answer")
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

fn suggest(context: &CheckContext, zone: &Zone) {
    let kubectl = |command: &str| next_steps::kubectl(&zone.facts, context.instance.from(), command);
    let (namespace, name) = &zone.dns.service;
    if !name.is_empty() {
        let selector = format!("kubernetes.io/service-name={name}");
        context.suggest(kubectl(&format!(
            "-n {namespace} get endpointslices -l {selector} -o wide"
        )));
    }
    for replica in &zone.dns.replicas {
        context.suggest(kubectl(&format!("-n {namespace} logs {} --tail=50", replica.pod)));
    }
}

async fn row(environment: &dyn Environment, zone: &Zone, asker: &AgentFacts, questions: &[Question]) -> Vec<Answer> {
    let first: Vec<&Question> = questions.iter().collect();
    let mut answers = batch(environment, zone, asker, &first).await;
    // A lost datagram is not a wrong answer, and applications ask again too.
    for look in 0..SECOND_LOOKS {
        let silent: Vec<usize> = (0..answers.len())
            .filter(|i| matches!(answers[*i], Answer::NoAnswer(_)))
            .collect();
        if silent.is_empty() {
            break;
        }
        if look > 0 {
            sleep(BETWEEN_LOOKS).await;
        }
        const AGAIN: usize = 3;
        let patient: Vec<Question> = silent.iter().map(|i| questions[*i].patient()).collect();
        let again: Vec<&Question> = patient.iter().flat_map(|question| vec![question; AGAIN]).collect();
        let retried = batch(environment, zone, asker, &again).await;
        for (index, tries) in silent.into_iter().zip(retried.chunks(AGAIN)) {
            let best = tries.iter().min_by_key(|answer| match answer {
                Answer::Mismatch(_) => 0,
                Answer::Ok(_) => 1,
                Answer::Unknown(_) => 2,
                Answer::NoAnswer(_) => 3,
            });
            if let Some(best) = best {
                answers[index] = best.clone();
            }
        }
    }
    answers
}

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
