//! A second look at cells that must be open and gave no answer: with a longer limit, and some seconds later, so that a
//! lost packet or a busy machine is not taken for a policy's doing.

use super::{deadlines::Deadlines, judged_cell::JudgedCell, judged_cell::is_open, round::probe_round};
use crate::{
    kit::probes::{BETWEEN_LOOKS, PATIENT, SECOND_LOOKS},
    policy::cell::CellResult,
};
use meshproof_contract::{Environment, Outcome};
use meshproof_oracle::Expected;
use tokio::time::sleep;

/// Probes these of the cells again that must be open and gave no answer, and corrects what they showed. How many
/// answered now.
pub(super) async fn look_again(
    environment: &dyn Environment,
    cells: &[JudgedCell],
    expected: impl Fn(&JudgedCell) -> Expected,
    deadlines: &Deadlines,
    among: impl Fn(usize) -> bool,
    results: &mut [CellResult],
) -> usize {
    let deadlines = Deadlines {
        answered: PATIENT,
        ..*deadlines
    };
    let mut answered = 0;
    for look in 0..SECOND_LOOKS {
        let silent =
            |index: &usize| among(*index) && is_open(expected(&cells[*index])) && gave_no_answer(&results[*index]);
        let silent: Vec<usize> = (0..cells.len()).filter(silent).collect();
        if silent.is_empty() {
            break;
        }
        if look > 0 {
            sleep(BETWEEN_LOOKS).await;
        }
        let again: Vec<JudgedCell> = silent.iter().map(|index| cells[*index].clone()).collect();
        let round = probe_round(environment, &again, &expected, &deadlines).await;
        for (index, result) in silent.into_iter().zip(round.results) {
            answered += usize::from(result == CellResult::Ok);
            results[index] = result;
        }
    }
    answered
}

fn gave_no_answer(result: &CellResult) -> bool {
    matches!(
        result,
        CellResult::Mismatch(Outcome::Timeout { .. } | Outcome::Stalled { .. } | Outcome::NameError { code: None, .. })
    )
}
