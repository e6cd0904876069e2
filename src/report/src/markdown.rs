//! `summary.md`: the run for a step summary of GitHub or a merge request's comment. Failures first, and never longer
//! than such places take.

use crate::model::{RunReport, TrialReport};
use meshproof_contract::{
    Exit, LinkKind, Verdict, api_requests_line,
    run_state::claims_line,
    text::{capitalized, counted, duration},
};
use std::fmt::Write;

/// GitHub takes at most 65,535 characters; bytes are never fewer than characters, and the rest is for the end.
const LIMIT: usize = 64_000;

/// Commands shown for one trial.
const COMMANDS: usize = 3;

/// Broken claims shown.
const CLAIMS: usize = 30;

/// The report as Markdown, less than 65,535 bytes.
pub fn markdown(report: &RunReport) -> String {
    let mut out = String::new();
    head(&mut out, report);
    let mut left_out = 0;
    // What a cause explains is counted with the cause.
    let unexplained = |trial: &&TrialReport| report.cause_of(&trial.trial).is_none();
    let unsure = report.inconclusive().into_iter().filter(unexplained);
    let red = report.failed().into_iter().chain(unsure);
    for section in red
        .map(red_section)
        .chain(report.waived().into_iter().map(waived_section))
    {
        if out.len() + section.len() > LIMIT - 8_000 {
            left_out += 1;
        } else {
            out.push_str(&section);
        }
    }
    if left_out > 0 {
        push(
            &mut out,
            format_args!("… and {} more, see `report.html`.\n\n", counted(left_out, "check")),
        );
    }
    for (why, trials) in report.skipped() {
        let line = format!("- {} skipped: {}\n", counted(trials.len(), "check"), escape(why));
        if out.len() + line.len() < LIMIT - 200 {
            out.push_str(&line);
        }
    }
    push(
        &mut out,
        format_args!(
            "\n<sub>meshproof {}, run {}{}</sub>\n",
            report.version,
            report.run,
            api_requests_line(&report.api_requests).map_or(String::new(), |line| format!(". {line}"))
        ),
    );
    out
}

fn head(out: &mut String, report: &RunReport) {
    let icon = match report.exit() {
        Some(Exit::Passed) => "✅",
        Some(Exit::Failed) => "❌",
        _ => "⚠️",
    };
    push(out, format_args!("## {icon} meshproof: {}\n\n", report.verdict));
    push(
        out,
        format_args!(
            "{} (exit code {}), {}.\n\n",
            escape(&capitalized(&report.meaning())),
            report.exit_code,
            duration(report.seconds)
        ),
    );
    if let Some(notice) = report.live_claims_notice() {
        push(out, format_args!("> {}.\n\n", escape(&capitalized(&notice))));
    }
    for fault in &report.faults {
        push(out, format_args!("> Fault injected on purpose: `{}`\n\n", fault.fault));
    }
    for sentence in report.diagnosis_sentences() {
        push(out, format_args!("> **{}**\n\n", capitalized(&clip(&sentence, 1_000))));
    }
    if let Some(place) = &report.common_place {
        push(out, format_args!("> **{}**\n\n", escape(&capitalized(&place.text))));
    }
    for cause in report.causes.iter().take(20) {
        push(
            out,
            format_args!("> **{}**\n\n", escape(&capitalized(&cause.sentence()))),
        );
    }
    for spent in report.spent_waivers.iter().take(20) {
        push(
            out,
            format_args!("> **{}**\n\n", escape(&capitalized(&clip(&spent.to_string(), 500)))),
        );
    }
    for shortfall in report.shortfalls.iter().take(20) {
        let (required, why) = (
            escape(&clip(&shortfall.required, 200)),
            escape(&clip(&shortfall.why, 500)),
        );
        push(out, format_args!("> Required and not run: **{required}**: {why}\n\n"));
    }
    for warning in report.warnings.iter().take(20) {
        push(out, format_args!("> {}\n\n", escape(&clip(warning, 500))));
    }
    claims(out, report);
    let waived = report.counts.waived > 0;
    let (word, rule) = if waived { (" waived |", "--:|") } else { ("", "") };
    push(
        out,
        format_args!(
            "| suite | passed | failed | inconclusive |{word} skipped | time |\n|---|--:|--:|--:|{rule}--:|--:|\n"
        ),
    );
    for suite in &report.suites {
        let c = suite.counts;
        let mut row = vec![c.passed, c.failed, c.inconclusive];
        row.extend(waived.then_some(c.waived));
        row.push(c.skipped);
        let row: Vec<String> = row.iter().map(ToString::to_string).collect();
        let row = row.join(" | ");
        push(
            out,
            format_args!("| {} | {row} | {} |\n", escape(&suite.name), duration(suite.seconds)),
        );
    }
    out.push('\n');
}

/// The claims: broken ones with the link that breaks, of the others how many there are.
fn claims(out: &mut String, report: &RunReport) {
    let Some(line) = claims_line(&report.claims) else {
        return;
    };
    push(out, format_args!("{}.\n\n", capitalized(&line)));
    let broken: Vec<_> = report.claims.iter().filter(|claim| claim.is_broken()).collect();
    if broken.is_empty() {
        return;
    }
    out.push_str("| claim | Git | Helm | live | agents | seen |\n|---|---|---|---|---|---|\n");
    for claim in broken.iter().take(CLAIMS) {
        let at = claim.chain.broken.as_ref().map(|broken| broken.at);
        let cell = |kind| {
            let text = escape(&clip(claim.says(kind), 60));
            if at == Some(kind) { format!("**{text}**") } else { text }
        };
        let cells = [LinkKind::Git, LinkKind::Helm, LinkKind::Live, LinkKind::Agents].map(cell);
        let (cluster, name) = (escape(claim.chain.cluster.as_str()), escape(&claim.chain.claim));
        push(
            out,
            format_args!("| {cluster} {name} | {} | {} |\n", cells.join(" | "), claim.seen),
        );
    }
    if broken.len() > CLAIMS {
        push(out, format_args!("\n… and {} more.\n", broken.len() - CLAIMS));
    }
    out.push('\n');
}

fn red_section(trial: &TrialReport) -> String {
    let word = trial.verdict.word();
    let mut out = format!(
        "### {}: `{}`\n\n{}\n\n",
        if word == "fail" { "Failed" } else { "Inconclusive" },
        trial.trial,
        escape(&trial.title)
    );
    match &trial.verdict {
        Verdict::Fail { findings } => {
            out.push_str("| subject | expected | observed |\n|---|---|---|\n");
            for finding in findings.iter().take(10) {
                let cells =
                    [&finding.subject, &finding.expected, &finding.observed].map(|cell| escape(&clip(cell, 400)));
                push(&mut out, format_args!("| {} |\n", cells.join(" | ")));
            }
            if findings.len() > 10 {
                push(&mut out, format_args!("\n… and {} more.\n", findings.len() - 10));
            }
        }
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => {
            push(&mut out, format_args!("{}\n", escape(&clip(why, 1_000))))
        }
        Verdict::Pass { .. } => {}
    }
    for known in trial.known_faults() {
        push(
            &mut out,
            format_args!(
                "\n**{}.** To accept it, add to `waivers` in meshproof.yaml:\n\n```yaml\n{}\n```\n",
                escape(&capitalized(&clip(&known.to_string(), 1_000))),
                clip(&known.waiver, 500)
            ),
        );
    }
    for text in &trial.meanwhile {
        push(&mut out, format_args!("\n**Meanwhile:** {}\n", escape(text)));
    }
    if let Some(waiver) = &trial.waiver {
        push(
            &mut out,
            format_args!("\n**Waiver:** {}\n", escape(&clip(&waiver.to_string(), 500))),
        );
    }
    if !trial.when_red.is_empty() {
        push(&mut out, format_args!("\n**Next:** {}\n", clip(&trial.when_red, 1_000)));
    }
    out.push_str("\n```sh\n");
    for look in trial.commands().take(COMMANDS) {
        push(&mut out, format_args!("{}\n", clip(&look.command, 1_000)));
    }
    push(&mut out, format_args!("{}\n```\n\n", clip(&trial.again, 1_000)));
    out
}

/// A failure that is accepted, in a line: there is nothing to do about it.
fn waived_section(trial: &TrialReport) -> String {
    let waiver = trial.waiver.as_ref().map(ToString::to_string).unwrap_or_default();
    let seen = format!("{}: {}", trial.verdict.word(), trial.verdict.headline());
    format!(
        "- Waived `{}` {}. Seen: {}\n",
        trial.trial,
        escape(&clip(&waiver, 500)),
        escape(&clip(&seen, 500))
    )
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

/// What would end a table cell or start markup.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '*' | '_' | '[' | ']' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

pub(crate) fn clip(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use meshproof_contract::Finding;

    #[test]
    fn it_stays_under_the_limit_however_much_fails() {
        let mut report = fixture::report();
        let mut template = report.failed()[0].clone();
        let finding = Finding {
            subject: "ü".repeat(400),
            expected: "x|".repeat(2000),
            observed: "y\n".repeat(2000),
        };
        template.verdict = Verdict::Fail {
            findings: vec![finding; 50],
        };
        report.suites[0].trials = vec![template; 300];
        report.warnings = vec!["w".repeat(3000); 100];
        let text = markdown(&report);
        assert!(text.len() < 65_535, "{} bytes", text.len());
        assert!(text.contains("more, see `report.html`"), "says what is left out");
    }
}
