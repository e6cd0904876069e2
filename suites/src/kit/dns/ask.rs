//! Questions from every node, judged against what the API says, in as few findings as say where the answers are wrong.

use super::{
    question::{Answer, Question, batch},
    silent,
    zone::Zone,
};
use crate::kit::{
    next_steps, observers,
    probes::{BETWEEN_LOOKS, SECOND_LOOKS},
};
use futures::future::join_all;
use meshproof_contract::{AgentFacts, CheckContext, Environment, NodeLabel, Tally};
use std::collections::BTreeMap;
use tokio::time::sleep;

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
