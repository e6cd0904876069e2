//! `junit.xml`, in the dialect that Jenkins, GitLab, GitHub's reporters and Buildkite all show well.
//!
//! Suites are flat, since readers drop nested ones. A failure's body repeats its message, since GitLab reads only the
//! body. Attributes keep to Jenkins' schema (`junit-10.xsd`), whose validating reader rejects the whole file for one
//! that it does not know: so a case has no `timestamp`, `hostname` or `file`; its suite has the first two, and the
//! case's own start and clusters are in its `system-out`.

use crate::{
    attachment,
    model::{Ending, RunReport, SuiteReport, TrialReport},
};
use meshproof_contract::{Exit, Verdict};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use std::{collections::BTreeSet, time::Duration};

/// The suite of the run itself: an aborted run without a single trial must not be an empty, green file.
const RUN_SUITE: &str = "run";

/// The report as JUnit XML.
pub fn junit(report: &RunReport) -> String {
    let mut xml = Report::new("meshproof");
    xml.set_time(duration(report.seconds));
    for suite in &report.suites {
        let mut element = suite_element(report, &suite.name, suite.seconds);
        if let Some(host) = host(suite) {
            element.extra.insert("hostname".into(), host.into());
        }
        element.add_test_cases(suite.trials.iter().map(|trial| case(report, trial)));
        xml.add_test_suite(element);
    }
    let mut run = suite_element(report, RUN_SUITE, report.seconds);
    run.add_test_case(run_case(report));
    xml.add_test_suite(run);
    let text = xml.to_string().expect("XML is written to memory, from valid strings");
    // quick-junit counts skipped cases on the root too, where Jenkins' schema knows no such attribute.
    let skipped = format!(" skipped=\"{}\"", report.counts.skipped);
    // It strips most of what XML 1.0 forbids or discourages, not all of it.
    let allowed = |c: &char| (!c.is_control() || "\n\t".contains(*c)) && !('\u{fffe}'..='\u{ffff}').contains(c);
    text.replacen(&skipped, "", 1).chars().filter(allowed).collect()
}

fn suite_element(report: &RunReport, name: &str, seconds: f64) -> TestSuite {
    let mut suite = TestSuite::new(name);
    suite.set_time(duration(seconds));
    if let Some(started) = report.started {
        let second = started.round(jiff::Unit::Second).unwrap_or(started);
        suite.extra.insert("timestamp".into(), second.to_string().into());
    }
    suite.add_properties(properties(report));
    suite
}

/// Run, versions and contexts; few readers show them, but they stay with the file.
fn properties(report: &RunReport) -> Vec<Property> {
    let mut properties = vec![
        Property::new("meshproof.run", report.run.as_str()),
        Property::new("meshproof.version", report.version.as_str()),
        Property::new("meshproof.command", report.command.join(" ")),
        Property::new("meshproof.exit_code", report.exit_code.to_string()),
    ];
    if let Some(notice) = report.live_claims_notice() {
        properties.push(Property::new("meshproof.claims", notice));
    }
    for sentence in report.diagnosis_sentences() {
        properties.push(Property::new("meshproof.diagnosis", sentence));
    }
    if let Some(place) = &report.common_place {
        properties.push(Property::new("meshproof.place", place.text.as_str()));
    }
    for cause in &report.causes {
        properties.push(Property::new("meshproof.cause", cause.sentence()));
    }
    for fault in &report.faults {
        properties.push(Property::new("meshproof.fault", fault.fault.as_str()));
    }
    for cluster in report.facts.iter().flat_map(|facts| &facts.clusters) {
        let mut add = |what: &str, value: &str| {
            properties.push(Property::new(
                format!("cluster.{}.{what}", cluster.name),
                value.to_owned(),
            ));
        };
        add("context", &cluster.context);
        add("kubernetes", &cluster.version);
        if let Some(cilium) = &cluster.cilium {
            add("cilium", &cilium.version);
        }
        let claims = report.facts.iter().flat_map(|facts| &facts.claims);
        for claim in claims.filter(|claim| claim.cluster == cluster.name) {
            add(
                &format!("claim.{}", claim.kind),
                &format!("{} ({})", claim.value, claim.source),
            );
        }
    }
    properties
}

/// The clusters on which the suite ran, from the trials' names.
fn host(suite: &SuiteReport) -> Option<String> {
    let clusters: BTreeSet<&str> = suite
        .trials
        .iter()
        .filter_map(|trial| trial.instance.as_ref())
        .flat_map(|instance| [instance.from().as_str(), instance.to().as_str()])
        .collect();
    (!clusters.is_empty()).then(|| clusters.into_iter().collect::<Vec<_>>().join(","))
}

fn case(report: &RunReport, trial: &TrialReport) -> TestCase {
    let skipped = |why: &str| {
        let mut status = TestCaseStatus::skipped();
        status.set_message(one_line(why)).set_description(why);
        status
    };
    let status = match (trial.accepted(), &trial.verdict) {
        (Some(waiver), verdict) => skipped(&one_line(&format!(
            "waived {waiver}; {}: {}",
            verdict.word(),
            verdict.headline()
        ))),
        (None, Verdict::Pass { .. }) => TestCaseStatus::success(),
        (None, Verdict::Skipped { why }) => skipped(why),
        (None, Verdict::Fail { .. }) => red(NonSuccessKind::Failure, "fail", report, trial),
        (None, Verdict::Inconclusive { .. }) => red(NonSuccessKind::Error, "inconclusive", report, trial),
    };
    let mut case = TestCase::new(trial.trial.short(), status);
    case.set_classname(format!("meshproof.{}", trial.check.suite()));
    case.set_time(duration(trial.seconds));
    case.set_system_out(system_out(report, trial));
    case
}

fn red(kind: NonSuccessKind, ty: &str, report: &RunReport, trial: &TrialReport) -> TestCaseStatus {
    // One cause has one message, so that readers that group by message show it once.
    let message = match report.cause_of(&trial.trial) {
        Some(cause) => one_line(&format!("could not observe: {}", cause.text)),
        None => one_line(&format!("{}: {}", trial.title, trial.verdict.headline())),
    };
    let mut status = TestCaseStatus::non_success(kind);
    status
        .set_message(message.as_str())
        .set_type(format!("meshproof.{ty}"))
        .set_description(body(&message, report, trial));
    status
}

fn body(message: &str, report: &RunReport, trial: &TrialReport) -> String {
    let mut lines = vec![message.to_owned(), String::new()];
    // Few readers show properties, so the first failure tells what all of them point to.
    if report.failed().first().is_some_and(|first| first.trial == trial.trial) {
        let sentences = report.diagnosis_sentences();
        lines.extend(sentences.into_iter().flat_map(|sentence| [sentence, String::new()]));
    }
    if let Verdict::Inconclusive { why } = &trial.verdict
        && message != format!("{}: {why}", trial.title)
    {
        lines.extend([why.clone(), String::new()]);
    }
    lines.extend(trial.known_faults().map(ToString::to_string));
    lines.extend(trial.meanwhile.iter().map(|text| format!("meanwhile: {text}")));
    if let Some(waiver) = &trial.waiver {
        lines.push(format!("waiver ({}): {waiver}", waiver.source));
    }
    if let Verdict::Fail { findings } = &trial.verdict {
        for finding in findings {
            lines.push(finding.subject.clone());
            lines.push(format!("  expected: {}", finding.expected));
            lines.push(format!("  observed: {}", finding.observed));
        }
        lines.push(String::new());
    }
    if trial.observations().next().is_some() {
        lines.push("evidence:".to_owned());
        lines.extend(trial.observations().map(|evidence| format!("  {evidence}")));
        lines.push(String::new());
    }
    if !trial.when_red.is_empty() {
        lines.push(format!("next: {}", trial.when_red));
    }
    lines.extend(trial.commands().map(|look| format!("look: {}", look.command)));
    lines.push(format!("again: {}", trial.again));
    lines.join("\n")
}

fn system_out(report: &RunReport, trial: &TrialReport) -> String {
    let mut lines = vec![trial.title.clone()];
    if let Some(started) = trial.started {
        lines.push(format!("started: {started}"));
    }
    if let Some(instance) = &trial.instance {
        let context = |cluster| {
            let facts = report.facts.as_ref()?.cluster(cluster)?;
            Some(format!("cluster: {cluster} (context {})", facts.context))
        };
        let ends = BTreeSet::from([instance.from(), instance.to()]);
        lines.extend(ends.into_iter().filter_map(context));
    }
    if let Verdict::Pass { witnesses } = &trial.verdict {
        lines.extend(witnesses.iter().map(|witness| format!("observed: {}", witness.what)));
    }
    for claim in report.claims.iter().filter(|_| trial.check.suite() == "gitops") {
        let Some((source, instance)) = claim.chain.source.as_ref().zip(trial.instance.as_ref()) else {
            continue;
        };
        if claim.is_broken() && *instance.from() == claim.chain.cluster {
            lines.push(format!("claim: {source}: {}", claim.chain));
        }
    }
    if let Some(waiver) = trial.accepted() {
        lines.push(format!("waived {waiver}"));
        lines.push(format!("{}: {}", trial.verdict.word(), trial.verdict.headline()));
    }
    let figures = trial.measurements.iter().filter(|m| m.subject.is_check());
    lines.extend(figures.map(|m| format!("{}: {}", m.name, m.figure())));
    if let Some(path) = attachment::path_of(trial) {
        lines.push(format!("[[ATTACHMENT|{path}]]"));
    }
    lines.join("\n")
}

fn run_case(report: &RunReport) -> TestCase {
    let counts = &report.counts;
    let proven = counts.passed + counts.failed + counts.inconclusive + counts.waived > 0;
    let enough = proven && report.shortfalls.is_empty() && report.exit() != Some(Exit::TooLittle);
    let spent: Vec<String> = report.spent_waivers.iter().map(ToString::to_string).collect();
    let status = if matches!(report.ending, Ending::Complete) && enough && !spent.is_empty() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status
            .set_message(one_line(&spent[0]))
            .set_type("meshproof.waiver")
            .set_description(spent.join("\n"));
        status
    } else if matches!(report.ending, Ending::Complete) && enough {
        TestCaseStatus::success()
    } else {
        let meaning = one_line(&report.meaning());
        let message = if report.shortfalls.is_empty() || report.exit() == Some(Exit::TooLittle) {
            meaning
        } else {
            // Another exit code may be worse, and mean something else.
            format!("{}: {meaning}", Exit::TooLittle.meaning())
        };
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        let missed = report.shortfalls.iter();
        let missed: String = missed
            .map(|shortfall| format!("\nrequired and not run: {}: {}", shortfall.required, shortfall.why))
            .chain(spent.iter().map(|spent| format!("\n{spent}")))
            .collect();
        let description = format!("{message}\n{missed}\nexit code: {}", report.exit_code);
        status
            .set_message(message)
            .set_type("meshproof.run")
            .set_description(description);
        status
    };
    let mut case = TestCase::new("run_completed", status);
    case.set_classname(format!("meshproof.{RUN_SUITE}"));
    case.set_time(duration(report.seconds));
    case
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests;
