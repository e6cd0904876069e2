//! The result on stdout: what was red and what to do about it, where the reports are, and what the exit code means.

use crate::{
    line::claims_line,
    palette::Palette,
    terminal::printable,
    view::{Counts, Finished, Trial, View},
};
use meshproof_contract::{Exit, Verdict, again, text::duration};
use std::{fmt::Write, path::Path};

/// Findings told of one trial; the reports have all.
const FINDINGS: usize = 8;
/// Red trials told in full; of the rest the names are.
const IN_FULL: usize = 12;
/// Commands suggested for one trial.
const COMMANDS: usize = 3;
/// Names told for one reason.
const NAMES: usize = 6;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything that people need.
    Full,
    /// What is red, and the verdict.
    Red,
}

/// The result; ends with a newline.
pub(crate) fn result(view: &View, reports: Option<&Path>, detail: Detail, palette: Palette) -> String {
    let mut out = Sheet {
        text: String::new(),
        palette,
    };
    if detail == Detail::Full {
        if let Some(line) = claims_line(&view.live_claims) {
            out.line(format_args!("{}", palette.unsure(line)));
        }
        for fault in &view.faults {
            out.line(format_args!(
                "{}",
                palette.unsure(format!("fault injected on purpose: {fault}"))
            ));
        }
        for warning in &view.warnings {
            out.line(format_args!("{} {}", palette.unsure("warning:"), printable(warning)));
        }
        suites(&mut out, view);
    }
    let red = red(view);
    for group in red.iter().take(IN_FULL) {
        match group.as_slice() {
            [one] => red_trial(&mut out, view, one),
            many => unsure_trials(&mut out, view, many),
        }
    }
    if red.len() > IN_FULL {
        let rest: Vec<&&Trial> = red[IN_FULL..].iter().flatten().collect();
        out.gap();
        out.line(format_args!(
            "and {} more that are red, told in full in the reports:",
            rest.len()
        ));
        rest.iter()
            .for_each(|trial| out.line(format_args!("  {}", printable(trial.name.as_str()))));
    }
    shortfalls(&mut out, view);
    if detail == Detail::Full {
        skipped(&mut out, view);
        if let Some(path) = reports {
            out.gap();
            out.line(format_args!(
                "{}  {}",
                palette.faint("reports"),
                path.join("report.html").display()
            ));
        }
    }
    verdict(&mut out, view);
    out.text
}

fn suites(out: &mut Sheet, view: &View) {
    let mut rows: Vec<(&str, Counts, f64)> = Vec::new();
    for trial in &view.trials {
        let at = rows
            .iter()
            .position(|(name, ..)| *name == trial.suite)
            .unwrap_or_else(|| {
                rows.push((&trial.suite, Counts::default(), 0.0));
                rows.len() - 1
            });
        rows[at].1.add(trial);
        rows[at].2 += trial.finished().map_or(0.0, |finished| finished.seconds);
    }
    if rows.is_empty() {
        return;
    }
    let palette = out.palette;
    let width = rows
        .iter()
        .map(|(name, ..)| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    out.gap();
    let head = format!("{:<width$}  passed  failed  inconclusive  skipped        time", "suite");
    out.line(format_args!("{}", palette.faint(head)));
    for (name, counts, seconds) in rows {
        // Padded before painted, since escape codes would count as width.
        let cell = |number: usize, width: usize, paint: fn(Palette, String) -> String| {
            let text = format!("{number:>width$}");
            if number == 0 {
                palette.faint(text)
            } else {
                paint(palette, text)
            }
        };
        out.line(format_args!(
            "{name:<width$}  {}  {}  {}  {}  {:>10}",
            cell(counts.passed, 6, Palette::good),
            cell(counts.failed, 6, Palette::bad),
            cell(counts.inconclusive + counts.unfinished, 12, Palette::unsure),
            cell(counts.skipped, 7, |_, text| text),
            duration(seconds),
        ));
    }
}

/// Failed trials one by one, then inconclusive ones by their reason: one agent that is away is one thing to look at,
/// however many checks need it.
fn red(view: &View) -> Vec<Vec<&Trial>> {
    let mut failed = Vec::new();
    let mut unsure: Vec<(&str, Vec<&Trial>)> = Vec::new();
    for trial in &view.trials {
        match trial.verdict() {
            Some(Verdict::Fail { .. }) => failed.push(vec![trial]),
            Some(Verdict::Inconclusive { why }) => match unsure.iter_mut().find(|(reason, _)| reason == why) {
                Some((_, trials)) => trials.push(trial),
                None => unsure.push((why, vec![trial])),
            },
            _ => {}
        }
    }
    failed.extend(unsure.into_iter().map(|(_, trials)| trials));
    failed
}

fn unsure_trials(out: &mut Sheet, view: &View, trials: &[&Trial]) {
    let Some(first) = trials.first() else { return };
    let Some(Verdict::Inconclusive { why }) = first.verdict() else {
        return;
    };
    let word = out.palette.unsure("INCONCLUSIVE");
    let number = out.palette.strong(format!("{} checks", trials.len()));
    out.gap();
    out.line(format_args!("{word}  {number}: {}", printable(why)));
    let names: Vec<&str> = trials.iter().map(|trial| trial.name.as_str()).collect();
    out.names(&names);
    out.field("again", &again(&view.again, &first.name));
}

fn red_trial(out: &mut Sheet, view: &View, trial: &Trial) {
    let Some(Finished {
        verdict,
        seconds,
        commands,
    }) = trial.finished()
    else {
        return;
    };
    let palette = out.palette;
    let word = match verdict {
        Verdict::Fail { .. } => palette.bad("FAILED"),
        _ => palette.unsure("INCONCLUSIVE"),
    };
    out.gap();
    out.line(format_args!(
        "{word}  {}  {}",
        palette.strong(printable(trial.name.as_str())),
        palette.faint(duration(*seconds))
    ));
    out.line(format_args!("  {}", printable(&trial.title)));
    match verdict {
        Verdict::Fail { findings } => {
            let shown = &findings[..findings.len().min(FINDINGS)];
            // What differs in its subject only is told once.
            for same in shown.chunk_by(|a, b| (&a.expected, &a.observed) == (&b.expected, &b.observed)) {
                for finding in same {
                    out.line(format_args!("  {}", palette.strong(printable(&finding.subject))));
                }
                out.field("  expected", &same[0].expected);
                out.field("  observed", &same[0].observed);
            }
            if findings.len() > FINDINGS {
                out.line(format_args!("  and {} more deviations", findings.len() - FINDINGS));
            }
        }
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => out.field("why", why),
        Verdict::Pass { .. } => {}
    }
    if !trial.when_red.is_empty() {
        out.field("next", &trial.when_red);
    }
    commands
        .iter()
        .take(COMMANDS)
        .for_each(|command| out.field("look", command));
    out.field("again", &again(&view.again, &trial.name));
}

/// What had to run and did not, by what required it.
fn shortfalls(out: &mut Sheet, view: &View) {
    for same in view.shortfalls.chunk_by(|a, b| a.required == b.required) {
        let word = out.palette.unsure("REQUIRED AND NOT RUN");
        out.gap();
        let required = out.palette.strong(printable(&same[0].required));
        out.line(format_args!("{word}  {required}"));
        same.iter()
            .for_each(|shortfall| out.line(format_args!("  {}", printable(&shortfall.why))));
    }
}

fn skipped(out: &mut Sheet, view: &View) {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for trial in &view.trials {
        let Some(Verdict::Skipped { why }) = trial.verdict() else {
            continue;
        };
        match groups.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, names)) => names.push(trial.name.as_str()),
            None => groups.push((why, vec![trial.name.as_str()])),
        }
    }
    if !groups.is_empty() {
        out.gap();
    }
    for (why, names) in groups {
        out.line(format_args!("skipped {}: {}", names.len(), printable(why)));
        out.names(&names);
    }
}

fn verdict(out: &mut Sheet, view: &View) {
    let palette = out.palette;
    let counts = view.counts();
    let code = view.exit_code.unwrap_or(Exit::CouldNotTell.code());
    let exit = Exit::from_code(code);
    let word = exit.map_or("ended", Exit::word).to_uppercase();
    let word = match exit {
        Some(Exit::Passed) => palette.good(word),
        Some(Exit::Failed | Exit::Usage) => palette.bad(word),
        _ => palette.unsure(word),
    };
    let mut parts = Vec::new();
    for (number, name) in [
        (counts.passed, "passed"),
        (counts.failed, "failed"),
        (counts.inconclusive, "inconclusive"),
        (counts.skipped, "skipped"),
        (counts.unfinished, "unfinished"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {name}"));
        }
    }
    let tally = if parts.is_empty() {
        "no check ran".to_owned()
    } else {
        parts.join(", ")
    };
    let seconds = view.last.map_or(0.0, |last| view.elapsed(last));
    let meaning = match &view.aborted {
        Some(reason) => printable(reason),
        None => exit.map_or("", Exit::meaning).to_owned(),
    };
    if !out.text.is_empty() {
        out.gap();
    }
    out.line(format_args!(
        "{word}  {tally}, {} (exit code {code}: {meaning})",
        duration(seconds)
    ));
}

struct Sheet {
    text: String,
    palette: Palette,
}

impl Sheet {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{text}").expect("a String takes everything");
    }
    fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }
    /// The first names, and how many more.
    fn names(&mut self, names: &[&str]) {
        let more = match names.len().saturating_sub(NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let text = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ") + &more;
        self.line(format_args!("  {}", self.palette.faint(printable(&text))));
    }
    fn field(&mut self, name: &str, value: &str) {
        let name = self.palette.faint(format!("{name:<10}"));
        self.line(format_args!("  {name}  {}", printable(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::{mixed, view_after},
        view::Stage,
    };
    use meshproof_contract::{Event, EventRecord, Finding};

    fn full(view: &View) -> String {
        result(
            view,
            Some(Path::new("reports/20261121-093000-k3v9")),
            Detail::Full,
            Palette::Plain,
        )
    }

    #[test]
    fn of_a_mixed_run() {
        insta::assert_snapshot!(full(&view_after(usize::MAX)));
    }

    #[test]
    fn of_a_mixed_run_quietly() {
        insta::assert_snapshot!(result(&view_after(usize::MAX), None, Detail::Red, Palette::Plain));
    }

    #[test]
    fn of_a_run_that_never_began() {
        let mut view = view_after(3);
        let event = Event::Aborted {
            reason: "context 'apps-admin' is not in the kubeconfig".into(),
            exit_code: 2,
        };
        view.handle(&EventRecord {
            at: mixed()[2].at,
            event,
        });
        insta::assert_snapshot!(full(&view), @"
        warning: infra: Secret kube-system/cilium-clustermesh may not be read; which remote clusters are configured is unknown

        reports  reports/20261121-093000-k3v9/report.html

        NOT STARTED  no check ran, 0.21 s (exit code 2: context 'apps-admin' is not in the kubeconfig)
        ");
    }

    #[test]
    fn one_reason_for_many_checks_is_told_once() {
        let mut view = view_after(usize::MAX);
        for trial in &mut view.trials {
            trial.stage = Stage::Finished(Finished {
                verdict: Verdict::inconclusive("agent `server` on infra-1 does not run"),
                seconds: 0.1,
                commands: Vec::new(),
            });
        }
        view.again = ["meshproof", "run", "--exact"].map(str::to_owned).to_vec();
        view.exit_code = Some(3);
        insta::assert_snapshot!(result(&view, None, Detail::Red, Palette::Plain), @r"
        INCONCLUSIVE  26 checks: agent `server` on infra-1 does not run
          connectivity::http[infra], connectivity::http[apps], connectivity::http[infra->apps], connectivity::http[apps->infra], connectivity::udp[infra], connectivity::udp[apps] and 20 more
          again       meshproof run --exact 'connectivity::http[infra]'

        INCONCLUSIVE  26 inconclusive, 8.4 s (exit code 3: it could not be told whether every claim holds)
        ");
    }

    #[test]
    fn many_deviations_stay_readable() {
        let mut view = view_after(usize::MAX);
        let finding = Finding {
            subject: "a -> b".into(),
            expected: "x".into(),
            observed: "y\u{1b}[2J".into(),
        };
        for trial in &mut view.trials {
            trial.stage = Stage::Finished(Finished {
                verdict: Verdict::Fail {
                    findings: vec![finding.clone(); 200],
                },
                seconds: 1.0,
                commands: vec!["kubectl".into(); 50],
            });
        }
        let text = full(&view);
        assert!(text.lines().count() < 500, "{} lines", text.lines().count());
        assert!(text.contains("and 192 more deviations") && text.contains("and 14 more that are red"));
        assert!(!text.contains('\u{1b}'), "what was observed cannot steer the terminal");
    }
}
