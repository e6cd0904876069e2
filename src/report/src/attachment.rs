//! Evidence as files of its own, so that people's CI can link it from the test case.

use crate::model::{RunReport, TrialReport};
use meshproof_contract::{Evidence, Subject, Verdict};
use std::fmt::Write;

/// A text file beside the reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Path relative to the run's folder, with forward slashes.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

/// The attachments of a report: one for each trial that is red or inconclusive and left evidence or figures.
pub(crate) fn attachments(report: &RunReport) -> Vec<Attachment> {
    report
        .trials()
        .filter_map(|trial| {
            Some(Attachment {
                path: path_of(trial)?,
                text: text_of(trial),
            })
        })
        .collect()
}

/// Where the trial's attachment is; none when it has none.
pub(crate) fn path_of(trial: &TrialReport) -> Option<String> {
    let red = matches!(trial.verdict, Verdict::Fail { .. } | Verdict::Inconclusive { .. });
    let left_something = !trial.evidence.is_empty() || !trial.measurements.is_empty();
    (red && left_something).then(|| format!("attachments/{}.txt", file_name(trial.trial.as_str())))
}

/// Letters, digits and dashes of a trial's name; unique as long as names differ in those.
fn file_name(name: &str) -> String {
    let spelled = name.replace("->", "-to-").replace("::", "-");
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    spelled
        .chars()
        .map(safe)
        .collect::<String>()
        .trim_matches('-')
        .to_owned()
}

fn text_of(trial: &TrialReport) -> String {
    let mut text = format!("{}\n{}\n", trial.trial, trial.title);
    for evidence in trial.observations() {
        writeln!(text, "{evidence}").expect("a String takes everything");
        if let Evidence::Packet(packet) = evidence {
            writeln!(text, "  {}", packet.first_bytes).expect("a String takes everything");
        }
    }
    for look in trial.commands() {
        writeln!(text, "look: {}", look.command).expect("a String takes everything");
    }
    for m in &trial.measurements {
        let subject = match &m.subject {
            Subject::Check => String::new(),
            subject => format!(" {subject}"),
        };
        writeln!(text, "{}{subject}: {}", m.name, m.figure()).expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_red_trial_with_evidence_has_one_under_a_safe_name() {
        let attachments = attachments(&fixture::report());
        assert_eq!(attachments.len(), 1);
        assert_eq!(attachments[0].path, "attachments/connectivity-udp-infra-to-apps.txt");
        assert!(
            attachments[0].text.contains("6 of 9 pairs answered UDP"),
            "{}",
            attachments[0].text
        );
        assert_eq!(file_name("../../etc/passwd"), "..-..-etc-passwd");
    }
}
