//! From what every cell showed to few findings: one for each rule that was not kept, not one a cell.

use super::Row;
use super::realized::Realized;
use super::settle::Settled;
use crate::policy::cell::{Compared, wording};
use meshproof_contract::Tally;
use std::collections::BTreeMap;
use std::time::Duration;

/// Cells named in a finding.
const NAMED: usize = 3;

/// Judges a case; `others` are words about policies that are not ours.
pub fn conclude(
    name: &str,
    rows: &[Row],
    (under, after): (&Settled, &Settled),
    limit: Duration,
    others: &str,
    tally: &mut Tally,
) {
    let mut groups: BTreeMap<(String, String), Vec<(&Row, &str)>> = BTreeMap::new();
    let mut right = 0;
    for ((row, under), after) in rows.iter().zip(&under.last).zip(&after.last) {
        match (under, after) {
            (Compared::Unknown(why), _) | (_, Compared::Unknown(why)) => tally.unknown(format!("{name}: {why}")),
            (Compared::Right, Compared::Right) => right += 1,
            (Compared::Wrong(seen), Compared::Right) => {
                let expected = format!("{} ({})", wording(row.decision.expected), row.decision.because);
                groups
                    .entry(("under the policy".to_owned(), expected))
                    .or_default()
                    .push((row, seen));
            }
            // Closed by the policy as it should be, and closed for ever after.
            (Compared::Right, Compared::Wrong(seen))
                if row.decision.expected != meshproof_oracle::Expected::Allowed =>
            {
                let expected = format!("open again within {} s of the policy's deletion", limit.as_secs());
                groups
                    .entry(("after the policy".to_owned(), expected))
                    .or_default()
                    .push((row, seen));
            }
            (_, Compared::Wrong(seen)) => tally.unknown(format!(
                "{name}: {} is not open even without the policy any more ({seen}), so it was not the policy{others}",
                row.cell
            )),
        }
    }
    for ((when, expected), cells) in groups {
        let told: Vec<String> = cells
            .iter()
            .take(NAMED)
            .map(|(row, seen)| format!("{}: {seen}", row.cell))
            .collect();
        let more = match cells.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!("; and {n} more"),
        };
        let cilium = match if when == "under the policy" {
            under.realized
        } else {
            after.realized
        } {
            Some(Realized::Everywhere) => " (Cilium says that it is realized on every node of these pods)",
            Some(Realized::NotYet) => " (Cilium says that it is not realized on every node of these pods)",
            Some(Realized::Unknown) | None => "",
        };
        tally.finding(
            format!("{name}, {when}: {} of {} cells", cells.len(), rows.len()),
            expected,
            format!("{}{more}{cilium}{others}", told.join("; ")),
        );
    }
    if right == rows.len() {
        tally.witness(format!(
            "{name}: all {right} cells as expected, each open before and after the policy"
        ));
    }
}
