//! When pairs do not answer, though not for want of a path at all: what else passes between them now? So that a
//! moment's loss, a size that does not pass and a dead path are told apart.

use super::{
    cell::{Cell, Judged},
    observe::observe,
};
use crate::kit::{paths::Path, probes};
use meshproof_contract::{Action, CheckContext, Outcome, Probe, port};
use std::time::Duration;

/// So many pairs are asked: each stands for those that deviate in the same way.
const PAIRS: usize = 4;
/// Small datagrams to each: one in a hundred lost shows in 10 of them with a probability of 10 %, a dead path always.
const DATAGRAMS: u32 = 20;
/// Time between them.
const SPACING: Duration = Duration::from_millis(20);
/// The search for the path MTU, on a path where small datagrams pass.
const SEARCH: Duration = Duration::from_secs(4);

/// What passes between the pairs of these cells now, in their order; nothing of those that say by themselves what is
/// wrong, or of which too many were asked.
pub(super) async fn ask(context: &CheckContext, cells: &[&Judged]) -> Vec<Option<String>> {
    let asked: Vec<Path> = cells
        .iter()
        .filter(|j| is_silent(j))
        .map(|j| j.path.clone())
        .take(PAIRS)
        .collect();
    if asked.is_empty() {
        return vec![None; cells.len()];
    }
    let environment = context.environment.as_ref();
    let small = observe(environment, &asked, |path| {
        vec![probes::udp_series(path, DATAGRAMS, SPACING)]
    })
    .await;
    let back: Vec<Option<usize>> = small
        .iter()
        .map(|seen| came_back(seen.as_ref().ok()?.first()?))
        .collect();
    let passing = asked
        .iter()
        .zip(&back)
        .filter(|(_, back)| back.is_some_and(|back| back > 0));
    let passing: Vec<Path> = passing.map(|(path, _)| path.clone()).collect();
    let sizes = observe(environment, &passing, |path| vec![search(path)]).await;
    let size = |path: &Path| {
        let at = passing.iter().position(|other| other.to_string() == path.to_string())?;
        sizes.get(at)?.as_ref().ok()?.first()
    };
    let said = |j: &&Judged| {
        let at = asked.iter().position(|path| path.to_string() == j.path.to_string());
        let (path, back) = at.and_then(|at| Some((&asked[at], back[at]?)))?;
        Some(describe(back, size(path)))
    };
    cells.iter().map(said).collect()
}

/// Whether nothing answered, or not all of it: a refusal says by itself what it is.
fn is_silent(judged: &Judged) -> bool {
    match &judged.cell {
        Cell::NoAnswer(deviation) | Cell::Mismatch(deviation) => deviation.is_silence(),
        Cell::Ok(_) | Cell::Unknown(_) => false,
    }
}

fn search(path: &Path) -> Probe {
    let to = path.target(port::UDP);
    Probe::once(Action::PathMtu { to }, SEARCH)
}

fn came_back(outcome: &Outcome) -> Option<usize> {
    match outcome {
        Outcome::Series { latencies, .. } if !outcome.is_local_error() => Some(latencies.len()),
        _ => None,
    }
}

fn describe(back: usize, size: Option<&Outcome>) -> String {
    let small = format!("asked then, {back} of {DATAGRAMS} small datagrams came back");
    match size {
        Some(Outcome::PathMtu {
            largest,
            route,
            blackhole,
            ..
        }) if *largest > 0 => match blackhole {
            Some(lost) => format!("{small}, and packets of {lost} B are lost where {largest} B pass"),
            None if largest >= route && back == DATAGRAMS as usize => format!(
                "{small}, and packets of up to {largest} B, as the route says: it was a loss for some seconds, or of \
                 this protocol"
            ),
            None => format!("{small}, and packets of up to {largest} B"),
        },
        _ => small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_a_size_and_a_dead_path_are_told_apart() {
        let size = |largest, blackhole| Outcome::PathMtu {
            largest,
            route: 1370,
            device: 1500,
            blackhole,
            reported: None,
        };
        assert!(describe(20, Some(&size(1370, None))).contains("a loss for some seconds"));
        assert!(describe(20, Some(&size(1182, Some(1183)))).contains("packets of 1183 B are lost where 1182 B pass"));
        assert_eq!(describe(0, None), "asked then, 0 of 20 small datagrams came back");
        let some = describe(17, Some(&size(1370, None)));
        assert!(some.contains("17 of 20") && !some.contains("seconds"), "{some}");
    }
}
