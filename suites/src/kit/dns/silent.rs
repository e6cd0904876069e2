//! Which DNS replica is silent, where questions to the DNS service get no answer: load balancing chooses a replica by
//! chance, so the node that met it says nothing.

use super::{
    question::{Answer, Question, batch},
    zone::Zone,
};
use futures::future::join_all;
use meshproof_contract::{Action, CheckContext, DnsReplica, NodeLabel, Probe};
use std::net::SocketAddr;

/// Questions to each replica: all must be lost.
const TRIES: usize = 3;

/// Asks every replica by itself, if a question to the service was not answered, and says which are silent; none if they
/// all answer, or all are silent.
pub(super) async fn replicas(
    context: &CheckContext,
    zone: &Zone,
    questions: &[Question],
    rows: &[Vec<Answer>],
) -> Option<String> {
    let replicas = &zone.dns.replicas;
    let is_silent = |number: usize| {
        let mut answers = rows.iter().filter_map(|row| row.get(number));
        answers.any(|answer| matches!(answer, Answer::NoAnswer(_)))
    };
    let mut unanswered = questions.iter().enumerate().filter(|(number, _)| is_silent(*number));
    let (_, question) = unanswered.find(|(_, question)| is_of_service(zone, &question.probe))?;
    if replicas.len() < 2 {
        return None;
    }
    let of_each: Vec<Question> = replicas.iter().map(|replica| to(replica, question)).collect();
    let asked: Vec<&Question> = of_each.iter().flat_map(|question| vec![question; TRIES]).collect();
    let environment = context.environment.as_ref();
    let answers = join_all(zone.askers.iter().map(|asker| batch(environment, zone, asker, &asked))).await;
    let lost = |answers: &[Answer]| answers.iter().all(|answer| matches!(answer, Answer::NoAnswer(_)));
    let mut silent = Vec::new();
    for (number, replica) in replicas.iter().enumerate() {
        let of_replica = zone.askers.iter().zip(&answers);
        let nodes = of_replica.filter(|(_, answers)| answers.chunks(TRIES).nth(number).is_some_and(lost));
        let nodes: Vec<String> = nodes.map(|(asker, _)| NodeLabel::from(asker).to_string()).collect();
        if nodes.is_empty() {
            continue;
        }
        let whom = match nodes.len() == zone.askers.len() {
            true => "no node".to_owned(),
            false => format!("all nodes but {}", nodes.join(", ")),
        };
        let on = replica
            .node
            .as_ref()
            .map(|node| format!(" on {node}"))
            .unwrap_or_default();
        silent.push(format!("replica {}{on} answers {whom}", replica.pod));
    }
    let is_part = !silent.is_empty() && silent.len() < replicas.len();
    is_part.then(|| {
        format!(
            "{}, and the other replicas answer: which node meets it is chance; see dns::replica_answers",
            silent.join("; ")
        )
    })
}

/// Whether it goes to the DNS service, and not to one replica.
fn is_of_service(zone: &Zone, probe: &Probe) -> bool {
    match &probe.action {
        Action::Dns { server, .. } => server.is_none_or(|server| server.ip() == zone.dns.address),
        _ => false,
    }
}

/// The same question to one replica, patiently.
fn to(replica: &DnsReplica, question: &Question) -> Question {
    let mut question = question.patient();
    if let Action::Dns { server, .. } = &mut question.probe.action {
        *server = Some(SocketAddr::new(replica.address, replica.port));
    }
    question
}
