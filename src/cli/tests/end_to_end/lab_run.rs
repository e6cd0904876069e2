//! `run --lab`, which judges by the lab's own thresholds: faults that only delay must turn it red as in `prove`.

use crate::{Result, command::Meshproof, text};
use std::{fs, path::Path};

type Test = fn() -> Result<()>;

pub const ALL: &[(&str, Test)] = &[("a_late_policy_is_red_on_the_lab", a_late_policy_is_red)];

fn a_late_policy_is_red() -> Result<()> {
    let meshproof = Meshproof::new(Path::new("kubeconfig"))?;
    let fault = "policy-enforced-late";
    let ended = meshproof.ran(&["run", "--lab", "--lab-fault", fault, "--exact", "policy::takes_effect"])?;
    // The fault delays by 8 s: over the lab's 6 s, and under the 10 s of clusters that promise nothing else.
    let ended = ended.with(1)?.printing("6 s after the policy was applied")?;
    ended.printing("meshproof run --lab --lab-fault policy-enforced-late --exact 'policy::takes_effect[")?;
    let log = fs::read_to_string(meshproof.latest("events.ndjson")?).map_err(text)?;
    for stated in [r#""policy_enforcement":"6s""#, r#""recovery":"12s""#] {
        if !log.contains(stated) {
            return Err(format!("expected {stated} among the facts of the run"));
        }
    }
    Ok(())
}
