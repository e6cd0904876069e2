//! What came back, compared with what the operators expect. Pure.

use meshproof_contract::{
    Flow, Heard, Outcome,
    exchange::{Answer, TlsHeard},
    flow::Refusal,
};
use regex::Regex;

/// What one try showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As expected: what was seen.
    Right(String),
    /// Otherwise: what was expected, and what was seen.
    Wrong(String, String),
    /// Nothing can be said.
    Unknown(String),
}

/// Days for which certificates must be valid where the flow says nothing.
const DAYS_LEFT: u16 = 7;
const DAY: i64 = 86_400;

/// A connection, or a DNS answer, of a flow that is allowed.
pub fn outcome(outcome: &Outcome) -> Seen {
    match outcome {
        _ if outcome.is_local_error() => Seen::Unknown(outcome.to_string()),
        Outcome::Dns { answers, .. } if outcome.is_success() && answers.is_empty() => {
            Seen::Wrong("an address".to_owned(), outcome.to_string())
        }
        _ if outcome.is_success() => Seen::Right(outcome.to_string()),
        _ => Seen::Wrong("an answer".to_owned(), outcome.to_string()),
    }
}

/// An exchange of a flow that is allowed; `now` is in seconds since 1970.
pub fn exchange(flow: &Flow, heard: &Heard, now: i64) -> Seen {
    match outcome(&heard.connection) {
        Seen::Right(_) => {}
        other => return other,
    }
    let mut right = Vec::new();
    for judged in [
        heard.tls.as_ref().map(|tls| certificate(flow, tls, now)),
        heard.failure.as_ref().map(|failure| {
            let expected = format!("an answer in {}", flow.to.protocol);
            Seen::Wrong(expected, failure.clone())
        }),
        heard.answer.as_ref().map(|answer| answered(flow, answer)),
    ] {
        match judged {
            None => {}
            Some(Seen::Right(what)) => right.push(what),
            Some(other) => return other,
        }
    }
    if right.is_empty() {
        return Seen::Unknown("nothing was heard on the connection".to_owned());
    }
    Seen::Right(right.join(", "))
}

fn certificate(flow: &Flow, tls: &TlsHeard, now: i64) -> Seen {
    if let Some(distrust) = &tls.distrust {
        let observed = format!("{distrust} (subject {})", tls.subject);
        return Seen::Wrong("a certificate that is valid for the name".to_owned(), observed);
    }
    let Some(not_after) = tls.not_after else {
        return Seen::Unknown("the end of the certificate's validity cannot be read".to_owned());
    };
    let (least, left) = (flow.expect.days_left.unwrap_or(DAYS_LEFT), (not_after - now) / DAY);
    if left < i64::from(least) {
        let expected = format!("a certificate that is valid for {least} more days");
        return Seen::Wrong(expected, format!("{left} days left (subject {})", tls.subject));
    }
    Seen::Right(format!("certificate valid for {left} more days"))
}

fn answered(flow: &Flow, answer: &Answer) -> Seen {
    match answer {
        Answer::Http { status, headers, body } => http(flow, *status, headers, body),
        Answer::Postgres { tls, startup } => {
            let told = if *tls { "with TLS" } else { "without TLS" };
            match flow.expect.tls {
                Some(expected) if expected != *tls => {
                    let expected = if expected {
                        "PostgreSQL with TLS"
                    } else {
                        "PostgreSQL without TLS"
                    };
                    Seen::Wrong(expected.to_owned(), format!("PostgreSQL {told}"))
                }
                _ => Seen::Right(format!("PostgreSQL {told} {startup}")),
            }
        }
        Answer::Redis {
            demands_password: true, ..
        } => Seen::Right("Redis is alive and demands a password".to_owned()),
        Answer::Redis { line, .. } if line.starts_with('+') => Seen::Right(format!("Redis answers {line}")),
        Answer::Redis { line, .. } => Seen::Wrong("+PONG or a demand for a password".to_owned(), line.clone()),
    }
}

fn http(flow: &Flow, status: u16, headers: &[(String, String)], body: &str) -> Seen {
    let observed = format!("HTTP status {status}");
    match flow.expect.status {
        Some(expected) if expected != status => {
            return Seen::Wrong(format!("HTTP status {expected}"), observed);
        }
        None if status >= 400 => return Seen::Wrong("an HTTP status below 400".to_owned(), observed),
        _ => {}
    }
    for (name, pattern) in &flow.expect.headers {
        let mut values = headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let Some((_, value)) = values.next() else {
            return Seen::Wrong(format!("a header {name}"), "it is missing".to_owned());
        };
        if !is_match(pattern, value) {
            return Seen::Wrong(format!("a header {name} that matches {pattern}"), value.clone());
        }
    }
    match &flow.expect.body {
        Some(pattern) if !is_match(pattern, body) => {
            let start: String = body.chars().take(80).collect();
            Seen::Wrong(
                format!("a body that matches {pattern}"),
                format!("it begins with {start:?}"),
            )
        }
        _ => Seen::Right(observed),
    }
}

/// Expressions were verified when the flow was read.
fn is_match(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// A try of a flow that is not allowed. Errors of our own are never a refusal.
pub fn refusal(flow: &Flow, tried: &Outcome, heard: Option<&Heard>) -> Seen {
    let wanted = flow.expect.refusal;
    let seen = match (tried, heard.and_then(|heard| heard.answer.as_ref())) {
        (Outcome::Timeout { .. }, _) => Refusal::Dropped,
        (Outcome::Refused { .. } | Outcome::Unreachable { .. }, _) => Refusal::Rejected,
        (Outcome::Answered { .. }, Some(Answer::Http { status: 403, .. })) => Refusal::Forbidden,
        (Outcome::Answered { .. }, Some(Answer::Http { status, .. })) => {
            return Seen::Wrong(flow.expect.to_string(), format!("answered with HTTP status {status}"));
        }
        (Outcome::Answered { .. }, _) if heard.is_some_and(|heard| heard.failure.is_some()) => {
            let failure = heard.and_then(|heard| heard.failure.clone()).unwrap_or_default();
            return Seen::Unknown(format!("connected, and then: {failure}"));
        }
        (Outcome::Answered { .. } | Outcome::Dns { .. }, _) => {
            return Seen::Wrong(flow.expect.to_string(), tried.to_string());
        }
        (other, _) => return Seen::Unknown(other.to_string()),
    };
    match wanted {
        Some(wanted) if wanted != seen => Seen::Wrong(wanted.to_string(), format!("{seen}: {tried}")),
        _ => Seen::Right(format!("{seen}: {tried}")),
    }
}
