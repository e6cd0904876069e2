//! Red trials as the page shows them.

use super::class;
use crate::model::{RunReport, TrialReport};
use meshproof_contract::{
    Evidence, Finding, Verdict,
    evidence::Command,
    run_state::CauseReport,
    text::{capitalized, duration},
};

/// A red trial, shown in full.
pub(in crate::html) struct RedTrial<'a> {
    pub(super) trial: &'a TrialReport,
    pub(super) class: &'static str,
    pub(super) took: String,
    pub(super) why: String,
    pub(super) findings: Vec<SameFindings<'a>>,
    pub(super) commands: Vec<&'a Command>,
    pub(super) evidence: Vec<&'a Evidence>,
}

/// Findings that differ in their subject only.
pub(in crate::html) struct SameFindings<'a> {
    pub(super) subjects: Vec<&'a str>,
    pub(super) expected: &'a str,
    pub(super) observed: &'a str,
}

pub(super) fn red(trial: &TrialReport) -> RedTrial<'_> {
    let mut same: Vec<SameFindings<'_>> = Vec::new();
    if let Verdict::Fail { findings } = &trial.verdict {
        for Finding {
            subject,
            expected,
            observed,
        } in findings
        {
            let subject = subject.as_str();
            match same
                .iter_mut()
                .find(|s| s.expected == expected && s.observed == observed)
            {
                Some(same) => same.subjects.push(subject),
                None => same.push(SameFindings {
                    subjects: vec![subject],
                    expected,
                    observed,
                }),
            }
        }
    }
    RedTrial {
        trial,
        class: class(trial.standing()),
        took: duration(trial.seconds),
        why: match &trial.verdict {
            Verdict::Inconclusive { why } => why.clone(),
            _ => String::new(),
        },
        findings: same,
        commands: trial.commands().collect(),
        evidence: trial.observations().collect(),
    }
}

/// Inconclusive trials that no cause explains, by their reason: one agent that is away is one thing to look at, however
/// many checks need it.
pub(super) fn by_reason(report: &RunReport) -> Vec<Vec<RedTrial<'_>>> {
    let mut groups: Vec<Vec<RedTrial<'_>>> = Vec::new();
    let unexplained = |trial: &&TrialReport| report.cause_of(&trial.trial).is_none();
    for item in report.inconclusive().into_iter().filter(unexplained).map(red) {
        match groups.iter_mut().find(|group| group[0].why == item.why) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// What kept checks from observing, as a heading, with those checks.
pub(super) fn unobserved(report: &RunReport) -> Vec<(String, Vec<&TrialReport>)> {
    let inconclusive = report.inconclusive();
    let of = |cause: &CauseReport| -> Vec<&TrialReport> {
        let concerned = inconclusive.iter().copied();
        concerned.filter(|trial| cause.concerns(&trial.trial)).collect()
    };
    let groups = report.causes.iter().map(|cause| (capitalized(&cause.text), of(cause)));
    groups.filter(|(_, trials)| !trials.is_empty()).collect()
}
