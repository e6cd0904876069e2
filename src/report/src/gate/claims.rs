//! Claims that were made or held before.

use crate::model::RunReport;
use meshproof_contract::run_state::ClaimReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A claim that is no longer made, or no longer true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostClaim {
    /// The cluster.
    pub cluster: String,
    /// What was claimed: a kind of claim, or a Helm value.
    pub claim: String,
    /// Before: the value, or `holds`.
    pub before: String,
    /// Now: the value, `not claimed`, or what is broken.
    pub now: String,
}

/// The claims that the current run has lost.
pub(super) fn lost(before: &RunReport, now: &RunReport) -> Vec<LostClaim> {
    // A run that ended before it had read the clusters has lost nothing by that.
    let mut lost = if now.facts.is_some() {
        of_checks(before, now)
    } else {
        Vec::new()
    };
    lost.extend(of_files(before, now));
    lost
}

/// What checks apply to: made then and not made now.
fn of_checks(before: &RunReport, now: &RunReport) -> Vec<LostClaim> {
    let affirmed = |report: &RunReport| -> BTreeMap<(String, String), (String, bool)> {
        let claims = report.facts.iter().flat_map(|facts| &facts.claims);
        claims
            .map(|claim| {
                let key = (claim.cluster.to_string(), claim.kind.to_string());
                (key, (claim.value.clone(), claim.affirms()))
            })
            .collect()
    };
    let later = affirmed(now);
    let made = affirmed(before).into_iter().filter(|(_, (_, affirms))| *affirms);
    made.filter_map(|((cluster, claim), (value, _))| {
        let now = match later.get(&(cluster.clone(), claim.clone())) {
            Some((_, true)) => return None,
            Some((value, false)) => value.clone(),
            None => "not claimed".to_owned(),
        };
        Some(LostClaim {
            cluster,
            claim,
            before: value,
            now,
        })
    })
    .collect()
}

/// What the operators' files say: followed and unbroken then, broken now. A run without the files has no claims of
/// theirs, which shows as coverage lost.
fn of_files(before: &RunReport, now: &RunReport) -> Vec<LostClaim> {
    let key = |claim: &ClaimReport| (claim.chain.cluster.clone(), claim.chain.claim.clone());
    let held = before.claims.iter().filter(|claim| !claim.is_broken());
    held.filter_map(|claim| {
        let later = now.claims.iter().find(|later| key(later) == key(claim));
        let now = match later {
            Some(later) => format!("broken: {}", later.chain.broken.as_ref()?.why),
            None if now.claims.is_empty() => return None,
            None => "not claimed".to_owned(),
        };
        Some(LostClaim {
            cluster: claim.chain.cluster.to_string(),
            claim: claim.chain.claim.clone(),
            before: "holds".to_owned(),
            now,
        })
    })
    .collect()
}
