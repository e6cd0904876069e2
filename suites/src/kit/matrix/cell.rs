//! One cell of a matrix: what was seen on a path, judged against what was expected there.

use crate::kit::paths::Path;
use meshproof_contract::{Outcome, Unit};

/// The symptoms of what was lost on the way.
const LOST: &str = "no answer: packets are lost without an error";
const STALLED: &str = "connected, then no more data: larger packets may be lost";

/// A path with its judgement.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The path.
    pub path: Path,
    /// The judgement.
    pub cell: Cell,
}

/// A judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// As expected, with what was measured.
    Ok(Option<Quantity>),
    /// No proper answer. One lost packet looks like this, so the path is probed again before it counts.
    NoAnswer(Deviation),
    /// An answer that must not be. Chance does not make it, so it counts at once.
    Mismatch(Deviation),
    /// Could not be observed.
    Unknown(String),
}

/// What was measured on a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
}

impl Quantity {
    /// A time in microseconds.
    pub fn micros(micros: u64) -> Self {
        let (value, unit) = (micros as f64, Unit::Microseconds);
        Self { value, unit }
    }
    /// A size in bytes.
    pub fn bytes(bytes: u32) -> Self {
        let (value, unit) = (f64::from(bytes), Unit::Bytes);
        Self { value, unit }
    }
}

/// How a cell differs from what was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// What was expected; cells with equal expectation and symptom become one finding.
    pub expected: String,
    /// What kind of thing was seen, without figures that differ from cell to cell.
    pub symptom: String,
    /// The figures of this cell, for people.
    pub detail: Option<String>,
    /// What was measured all the same.
    pub quantity: Option<Quantity>,
}

impl Deviation {
    /// A deviation without detail.
    pub fn new(expected: impl Into<String>, symptom: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            symptom: symptom.into(),
            detail: None,
            quantity: None,
        }
    }
    /// Whether packets seem to be lost: nothing came, or not all of it, and nobody said why.
    pub fn is_silence(&self) -> bool {
        [LOST, STALLED].contains(&self.symptom.as_str())
    }
    /// The deviation with what was measured on this path.
    pub fn with_quantity(mut self, quantity: Quantity) -> Self {
        self.quantity = Some(quantity);
        self
    }
    /// The deviation with this cell's figures.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// Judges several tries of the same thing: a wrong answer in any of them counts, else one right answer is enough; no
/// answer counts only when no try got one.
pub fn judge_tries(outcomes: &[Outcome], judge: impl Fn(&Outcome) -> Cell) -> Cell {
    let (mut ok, mut silent, mut unknown) = (None, None, None);
    for cell in outcomes.iter().map(judge) {
        match cell {
            Cell::Mismatch(_) => return cell,
            Cell::Ok(_) => ok = ok.or(Some(cell)),
            Cell::NoAnswer(_) => silent = silent.or(Some(cell)),
            Cell::Unknown(_) => unknown = unknown.or(Some(cell)),
        }
    }
    match (ok, silent, unknown) {
        (Some(_), _, Some(unknown)) => unknown,
        (Some(ok), _, None) => ok,
        (None, Some(silent), _) => silent,
        (None, None, Some(unknown)) => unknown,
        (None, None, None) => Cell::Unknown("no probe was sent".to_owned()),
    }
}

/// Judges tries over two protocols, of which `streams` are the first: both must be as expected, and the first one's
/// quantity counts.
pub fn judge_both(outcomes: &[Outcome], streams: usize, judge: impl Fn(&Outcome) -> Cell) -> Cell {
    let (streams, datagrams) = outcomes.split_at(streams.min(outcomes.len()));
    match judge_tries(streams, &judge) {
        ok @ Cell::Ok(_) => match judge_tries(datagrams, &judge) {
            Cell::Ok(_) => ok,
            other => other,
        },
        other => other,
    }
}

/// Judges an outcome by who answered, without regard to what the answer holds besides.
pub fn answered_by(path: &Path, outcome: &Outcome, expected: &str) -> Cell {
    match outcome {
        Outcome::Answered {
            served_by: Some(identity),
            status,
            timing,
            ..
        } => {
            if !path.is_server(identity) {
                return Cell::Mismatch(
                    Deviation::new(expected, "answered by another pod than the one asked")
                        .with_detail(format!("asked {}, answered by {identity}", path.to.id)),
                );
            }
            match status {
                Some(status) if !(200..300).contains(status) => {
                    Cell::NoAnswer(Deviation::new(expected, format!("answered with HTTP status {status}")))
                }
                _ => Cell::Ok(Some(Quantity::micros(timing.total))),
            }
        }
        Outcome::Answered { served_by: None, .. } => Cell::Mismatch(Deviation::new(
            expected,
            "answered by something other than a probe agent",
        )),
        other => no_answer(other, expected),
    }
}

/// Judges an outcome other than an answer of the expected kind.
pub fn no_answer(outcome: &Outcome, expected: &str) -> Cell {
    let deviation = |symptom: &str| Deviation::new(expected, symptom).with_detail(outcome.to_string());
    match outcome {
        Outcome::LocalError { reason } => Cell::Unknown(format!("the agent could not try: {reason}")),
        Outcome::Timeout { .. } => Cell::NoAnswer(deviation(LOST)),
        Outcome::Refused { .. } => Cell::NoAnswer(deviation(
            "connection refused, by the target or by a device on the path",
        )),
        Outcome::Reset { .. } => Cell::NoAnswer(deviation("connected, then reset")),
        Outcome::Closed { .. } => Cell::NoAnswer(deviation("connected, then closed before the answer was complete")),
        Outcome::Stalled { .. } => Cell::NoAnswer(deviation(STALLED)),
        Outcome::Unreachable { .. } => Cell::NoAnswer(deviation("unreachable: no route, or an ICMP error")),
        Outcome::Denied { .. } => Cell::NoAnswer(deviation(
            "refused by the data path of the client's own node, as for a Service without backends",
        )),
        Outcome::NameError { .. } => Cell::NoAnswer(deviation("the name did not resolve")),
        Outcome::Corrupted { .. } => Cell::Mismatch(deviation("the answer differs from what was sent")),
        _ => Cell::Unknown(format!("unexpected outcome for this probe: {outcome}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::outcome::Timing;

    fn cell_of(outcome: &Outcome) -> Cell {
        match outcome {
            Outcome::Answered { .. } => Cell::Ok(None),
            Outcome::Corrupted { .. } => Cell::Mismatch(Deviation::new("e", "s")),
            other => no_answer(other, "an answer"),
        }
    }
    const TIMEOUT: Outcome = Outcome::Timeout {
        timing: Timing {
            dns: None,
            connect: None,
            first_byte: None,
            total: 1_000_000,
        },
    };
    fn answered() -> Outcome {
        Outcome::Answered {
            served_by: None,
            source: None,
            address: None,
            status: None,
            bytes: 0,
            timing: Timing::default(),
        }
    }
    fn local() -> Outcome {
        Outcome::LocalError {
            reason: "no sockets left".into(),
        }
    }

    #[test]
    fn one_right_answer_outweighs_lost_datagrams() {
        assert_eq!(judge_tries(&[TIMEOUT, answered(), TIMEOUT], cell_of), Cell::Ok(None));
        assert!(matches!(judge_tries(&[TIMEOUT, TIMEOUT], cell_of), Cell::NoAnswer(_)));
    }

    #[test]
    fn a_wrong_answer_outweighs_right_ones() {
        let corrupted = Outcome::Corrupted {
            detail: "byte 3".into(),
            timing: Timing::default(),
        };
        assert!(matches!(
            judge_tries(&[answered(), corrupted], cell_of),
            Cell::Mismatch(_)
        ));
    }

    #[test]
    fn what_the_agent_could_not_try_is_unknown() {
        assert!(matches!(judge_tries(&[local()], cell_of), Cell::Unknown(_)));
        assert!(matches!(judge_tries(&[answered(), local()], cell_of), Cell::Unknown(_)));
        assert!(matches!(judge_tries(&[], cell_of), Cell::Unknown(_)));
    }
}
