//! Values that claim something and have no effect, because what they need beside them is not there.

use super::Context;
use crate::{
    condition::Condition,
    finding::{Findings, Rule, Severity},
    values::Values,
};

/// A value without what it needs.
pub const NO_EFFECT: Rule = Rule {
    id: "no-effect",
    severity: Severity::Warning,
    finds: "A value has no effect without another one that is off.",
    reason: "The claim table says what each value needs beside it (\"needs\" in the table below).",
};

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    for cluster in &context.layout.clusters {
        for set in cluster.sets.iter().filter(|set| set.is_complete) {
            let values = Values {
                chart: context.chart,
                given: &set.values,
            };
            for row in context.table.rows() {
                let is_claimed = values.is_given(&row.value) && values.is_on(&row.value);
                let unmet: Vec<_> = row
                    .needs
                    .iter()
                    .filter(|need| need.holds(&values) == Some(false))
                    .map(Condition::to_string)
                    .collect();
                let place = values.place(&row.value);
                if is_claimed && !unmet.is_empty() && !out.has(place) {
                    let unmet = unmet.join(" and ");
                    out.add(
                        &NO_EFFECT,
                        place,
                        format!("{} has no effect: it needs that {unmet}", row.value),
                    );
                }
            }
        }
    }
}
