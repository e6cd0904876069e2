//! One cell of a matrix: what was seen on a path, judged against what was expected there.

use super::Path;
use meshproof_contract::Outcome;

/// A path with its judgement.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The path.
    pub path: Path,
    /// The judgement.
    pub cell: Cell,
}

/// A judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// As expected, with the time it took in microseconds where that is one figure.
    Ok(Option<u64>),
    /// No proper answer. One lost packet looks like this, so it is looked at again before it counts.
    NoAnswer(Deviation),
    /// An answer that must not be. Chance does not make it, so it counts at once.
    Mismatch(Deviation),
    /// Could not be observed.
    Unknown(String),
}

/// How a cell differs from what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What was expected; cells with equal expectation and symptom are told together.
    pub expected: String,
    /// What kind of thing was seen, without figures that differ from cell to cell.
    pub symptom: String,
    /// The figures of this cell.
    pub detail: Option<String>,
}

impl Deviation {
    /// A deviation without detail.
    pub fn new(expected: impl Into<String>, symptom: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            symptom: symptom.into(),
            detail: None,
        }
    }
    /// The deviation with this cell's figures.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// Judges several tries of the same thing: a wrong answer in any of them counts, else one right answer is enough, and
/// silence only counts when every try was silent.
pub fn judge_tries(outcomes: &[Outcome], judge: impl Fn(&Outcome) -> Cell) -> Cell {
    let mut right = None;
    let mut silent = None;
    let mut unknown = None;
    for cell in outcomes.iter().map(judge) {
        match cell {
            Cell::Mismatch(_) => return cell,
            Cell::Ok(_) => right = right.or(Some(cell)),
            Cell::NoAnswer(_) => silent = silent.or(Some(cell)),
            Cell::Unknown(_) => unknown = unknown.or(Some(cell)),
        }
    }
    match (right, silent, unknown) {
        (Some(_), _, Some(unknown)) => unknown,
        (Some(right), _, None) => right,
        (None, Some(silent), _) => silent,
        (None, None, Some(unknown)) => unknown,
        (None, None, None) => Cell::Unknown("the agent was asked nothing".to_owned()),
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
                _ => Cell::Ok(Some(timing.total)),
            }
        }
        Outcome::Answered { served_by: None, .. } => {
            Cell::Mismatch(Deviation::new(expected, "answered by something that is no probe agent"))
        }
        other => silence(other, expected),
    }
}

/// Judges an outcome that is no answer of the asked kind.
pub fn silence(outcome: &Outcome, expected: &str) -> Cell {
    let deviation = |symptom: &str| Deviation::new(expected, symptom).with_detail(outcome.to_string());
    match outcome {
        Outcome::LocalError { reason } => Cell::Unknown(format!("the agent could not try: {reason}")),
        Outcome::Timeout { .. } => Cell::NoAnswer(deviation("no answer at all, packets vanish")),
        Outcome::Refused { .. } => Cell::NoAnswer(deviation("refused: nobody listens there, or a device refuses")),
        Outcome::Reset { .. } => Cell::NoAnswer(deviation("connected, then reset")),
        Outcome::Closed { .. } => Cell::NoAnswer(deviation("connected, then closed before the answer was complete")),
        Outcome::Stalled { .. } => Cell::NoAnswer(deviation("connected, then silence: larger packets may vanish")),
        Outcome::Unreachable { .. } => Cell::NoAnswer(deviation("unreachable: no route, or an ICMP error says so")),
        Outcome::NameError { .. } => Cell::NoAnswer(deviation("the name did not resolve")),
        Outcome::Corrupted { .. } => Cell::Mismatch(deviation("the answer is not what was sent")),
        _ => Cell::Unknown(format!(
            "the agent answered something else than it was asked: {outcome}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::outcome::Timing;

    fn cell_of(outcome: &Outcome) -> Cell {
        match outcome {
            Outcome::Answered { .. } => Cell::Ok(Some(1)),
            Outcome::Corrupted { .. } => Cell::Mismatch(Deviation::new("e", "s")),
            other => silence(other, "an answer"),
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
        assert_eq!(judge_tries(&[TIMEOUT, answered(), TIMEOUT], cell_of), Cell::Ok(Some(1)));
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
