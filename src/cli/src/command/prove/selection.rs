//! Which checks meet which faults, and in which order and shares: pure.

use super::injection::Injection;
use crate::{
    cli_error::CliError,
    session::{
        fault::FaultSpec,
        run_plan::{lab_clusters, lab_flows, suites},
    },
};
use meshproof_contract::{Admission, Check, CheckId};
use meshproof_engine::{Filter, Plan, select};
use std::collections::BTreeSet;

/// Faults that slow checks meet come first: otherwise idle labs would wait for the last of them.
pub fn slow_first(rows: Vec<Injection>) -> Vec<Injection> {
    let suites = suites();
    let checks = || suites.iter().flat_map(|suite| suite.checks.iter());
    let is_slow_for = |fault: &FaultSpec| checks().any(|check| is_slow(*check) && names(*check, fault));
    let meets_slow = |row: &Injection| row.faults.iter().any(is_slow_for);
    let (mut order, quick): (Vec<_>, Vec<_>) = rows.into_iter().partition(meets_slow);
    order.extend(quick);
    order
}

/// The plan's checks in as many parts, or fewer where there are fewer checks.
pub fn shares(everything: &Plan, parts: usize) -> Result<Vec<Plan>, CliError> {
    let checks: BTreeSet<CheckId> = everything.trials().iter().map(|trial| trial.check.id()).collect();
    let share = |part| exactly(checks.iter().skip(part).step_by(parts).cloned());
    (0..parts.min(checks.len())).map(|part| plan(&share(part))).collect()
}

/// Exactly these; none at all would be all of them, so callers see to it that there is one.
pub fn exactly(checks: impl IntoIterator<Item = CheckId>) -> Filter {
    Filter {
        patterns: checks.into_iter().map(|check| check.to_string()).collect(),
        exact: true,
        ..Filter::default()
    }
}

/// The plan on the lab's clusters.
pub fn plan(filter: &Filter) -> Result<Plan, CliError> {
    select(&suites(), &lab_clusters(), &lab_flows(Some(true))?, filter).map_err(CliError::usage)
}

/// The checks that meet a fault: those of its suites, of which the slow ones, which run alone or change something and
/// wait for it, only if they name the fault.
pub fn checks_concerned(fault: &FaultSpec) -> Vec<CheckId> {
    let meets = |check: &&&dyn Check| !is_slow(**check) || names(**check, fault);
    let suites = suites();
    let concerned = suites.iter().filter(|suite| fault.suites.contains(&suite.name));
    concerned
        .flat_map(|suite| suite.checks.iter().filter(meets))
        .map(|check| check.id())
        .collect()
}

/// The checks that name a fault.
pub fn checks_that_name(fault: &FaultSpec) -> Vec<CheckId> {
    let suites = suites();
    let checks = suites.iter().flat_map(|suite| suite.checks);
    checks
        .filter(|check| names(**check, fault))
        .map(|check| check.id())
        .collect()
}

/// Whether the check runs alone, or changes something and waits for it.
fn is_slow(check: &dyn Check) -> bool {
    let needs = check.needs();
    needs.admission != Admission::Shared || needs.mutates
}

/// Whether the check says that the fault turns it red, or makes it inconclusive.
fn names(check: &dyn Check, fault: &FaultSpec) -> bool {
    check.faults().contains(&fault.name) || check.blinded_by().contains(&fault.name)
}

#[cfg(all(test, feature = "lab", target_os = "linux"))]
mod tests {
    use super::*;
    use crate::session::lab::Lab;

    #[test]
    fn every_check_names_faults_that_exist_and_concern_its_suite() {
        let faults = Lab::faults().expect("a build with the lab");
        for suite in suites() {
            for check in suite.checks {
                assert!(
                    !check.faults().is_empty(),
                    "{} names no fault: can it fail?",
                    check.id()
                );
                for name in check.faults() {
                    let fault = faults.iter().find(|fault| fault.name == *name);
                    let fault = fault.unwrap_or_else(|| panic!("{} names {name}, which does not exist", check.id()));
                    assert!(
                        fault.suites.contains(&suite.name),
                        "{name} is named by {} but does not concern its suite",
                        check.id()
                    );
                }
            }
        }
    }

    #[test]
    fn the_signatures_of_faults_are_of_checks_that_exist() {
        let suites = suites();
        let checks: BTreeSet<CheckId> = suites
            .iter()
            .flat_map(|suite| suite.checks)
            .map(|check| check.id())
            .collect();
        let rows = &meshproof_contract::Signatures::known().rows;
        let red: BTreeSet<&CheckId> = rows.iter().flat_map(|row| row.red.keys()).collect();
        let gone: Vec<_> = red.into_iter().filter(|check| !checks.contains(*check)).collect();
        assert!(
            gone.is_empty(),
            "docs/prove.json names checks that are gone: {gone:?}; run `meshproof prove`"
        );
    }

    #[test]
    fn every_fault_of_a_suite_is_named_by_a_check() {
        let suites = suites();
        let checks = suites.iter().flat_map(|suite| suite.checks);
        let named: BTreeSet<&str> = checks
            .flat_map(|check| check.faults().iter().chain(check.blinded_by()).copied())
            .collect();
        let concerns_a_suite = |fault: &FaultSpec| suites.iter().any(|suite| fault.suites.contains(&suite.name));
        let unnamed: Vec<_> = Lab::faults()
            .expect("a build with the lab")
            .into_iter()
            .filter(|fault| concerns_a_suite(fault) && !named.contains(fault.name))
            .map(|fault| fault.name)
            .collect();
        assert!(
            unnamed.is_empty(),
            "faults that no check promises to catch: {unnamed:?}"
        );
    }
}
