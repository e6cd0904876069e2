//! The result on stdout: what was red and what to do about it, where the reports are, and what the exit code means.

mod sheet;

use crate::{palette::Palette, terminal::printable};
use meshproof_contract::{
    Exit, RunState, TrialName, Verdict, again, api_requests_line,
    run_state::{Counts, FinishedTrial, TrialState},
    text::{counted, duration},
};
use sheet::Sheet;
use std::path::Path;

/// Findings shown of one trial; the reports have all.
const FINDINGS: usize = 8;
/// Red trials shown in full; of the rest the names are.
const IN_FULL: usize = 12;
/// Commands suggested for one trial.
const COMMANDS: usize = 3;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything that people need.
    Full,
    /// What is red, and the verdict.
    Red,
}

/// The result; ends with a newline.
pub(crate) fn result(run: &RunState, reports: Option<&Path>, detail: Detail, palette: Palette) -> String {
    let mut out = Sheet::new(palette);
    if detail == Detail::Full {
        head(&mut out, run);
        suites(&mut out, run);
    }
    let red = red(run);
    for group in red.iter().take(IN_FULL) {
        match group.as_slice() {
            [one] => red_trial(&mut out, run, one),
            many => same_reason(&mut out, run, many),
        }
    }
    if red.len() > IN_FULL {
        let rest: Vec<&&TrialState> = red[IN_FULL..].iter().flatten().collect();
        out.gap();
        out.line(format_args!("and {} more red checks, see the reports:", rest.len()));
        rest.iter()
            .for_each(|trial| out.line(format_args!("  {}", printable(trial.planned.trial.as_str()))));
    }
    shortfalls(&mut out, run);
    if detail == Detail::Full {
        skipped(&mut out, run);
        if let Some(line) = api_requests_line(&run.api_requests) {
            out.gap();
            out.line(format_args!("{line}"));
        }
        if let Some(path) = reports {
            out.gap();
            let path = path.join("report.html");
            out.line(format_args!("{}  {}", palette.faint("reports"), path.display()));
        }
    }
    verdict(&mut out, run);
    out.finish()
}

fn head(out: &mut Sheet, run: &RunState) {
    let palette = out.palette;
    if let Some(notice) = run.facts.as_ref().and_then(|facts| facts.live_claims_notice()) {
        out.line(format_args!("{}", palette.unsure(notice)));
    }
    for fault in run.active_faults() {
        let notice = format!("fault injected on purpose: {fault}");
        out.line(format_args!("{}", palette.unsure(notice)));
    }
    for warning in &run.warnings {
        out.line(format_args!("{} {}", palette.unsure("warning:"), printable(warning)));
    }
}

fn suites(out: &mut Sheet, run: &RunState) {
    let mut rows: Vec<(&str, Vec<&TrialState>)> = Vec::new();
    for trial in &run.trials {
        let suite = trial.planned.check.suite();
        match rows.iter_mut().find(|(name, _)| *name == suite) {
            Some((_, trials)) => trials.push(trial),
            None => rows.push((suite, vec![trial])),
        }
    }
    if rows.is_empty() {
        return;
    }
    let palette = out.palette;
    let longest = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = longest.unwrap_or(0).max(5);
    out.gap();
    let head = format!("{:<width$}  passed  failed  inconclusive  skipped        time", "suite");
    out.line(format_args!("{}", palette.faint(head)));
    for (name, trials) in rows {
        let counts = Counts::of(trials.iter().filter_map(|trial| trial.verdict()));
        let unfinished = trials.len() - counts.total();
        let micros: u64 = trials
            .iter()
            .filter_map(|trial| Some(trial.finished.as_ref()?.micros))
            .sum();
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
            cell(counts.inconclusive + unfinished, 12, Palette::unsure),
            cell(counts.skipped, 7, |_, text| text),
            duration(micros as f64 / 1e6),
        ));
    }
}

/// Failed trials one by one, then inconclusive ones by their reason: one agent that is away is one thing to look at,
/// however many checks need it.
fn red(run: &RunState) -> Vec<Vec<&TrialState>> {
    let mut failed = Vec::new();
    let mut inconclusive: Vec<(&str, Vec<&TrialState>)> = Vec::new();
    for trial in &run.trials {
        match trial.verdict() {
            Some(Verdict::Fail { .. }) => failed.push(vec![trial]),
            Some(Verdict::Inconclusive { why }) => match inconclusive.iter_mut().find(|(reason, _)| reason == why) {
                Some((_, trials)) => trials.push(trial),
                None => inconclusive.push((why, vec![trial])),
            },
            _ => {}
        }
    }
    failed.extend(inconclusive.into_iter().map(|(_, trials)| trials));
    failed
}

fn same_reason(out: &mut Sheet, run: &RunState, trials: &[&TrialState]) {
    let Some(first) = trials.first() else { return };
    let Some(Verdict::Inconclusive { why }) = first.verdict() else {
        return;
    };
    let word = out.palette.unsure("INCONCLUSIVE");
    let number = out.palette.strong(counted(trials.len(), "check"));
    out.gap();
    out.line(format_args!("{word}  {number}: {}", printable(why)));
    let names: Vec<&str> = trials.iter().map(|trial| trial.planned.trial.as_str()).collect();
    out.names(&names);
    out.field("again", &again_line(run, &first.planned.trial));
}

fn red_trial(out: &mut Sheet, run: &RunState, trial: &TrialState) {
    let Some(finished) = &trial.finished else { return };
    let FinishedTrial { verdict, micros, .. } = finished;
    let palette = out.palette;
    let word = match verdict {
        Verdict::Fail { .. } => palette.bad("FAILED"),
        _ => palette.unsure("INCONCLUSIVE"),
    };
    out.gap();
    out.line(format_args!(
        "{word}  {}  {}",
        palette.strong(printable(trial.planned.trial.as_str())),
        palette.faint(duration(*micros as f64 / 1e6))
    ));
    out.line(format_args!("  {}", printable(&trial.planned.title)));
    match verdict {
        Verdict::Fail { findings } => {
            let shown = &findings[..findings.len().min(FINDINGS)];
            // Findings that differ in their subject only are shown as one.
            for same in shown.chunk_by(|a, b| (&a.expected, &a.observed) == (&b.expected, &b.observed)) {
                for finding in same {
                    out.line(format_args!("  {}", palette.strong(printable(&finding.subject))));
                }
                out.field("  expected", &same[0].expected);
                out.field("  observed", &same[0].observed);
            }
            if findings.len() > FINDINGS {
                out.line(format_args!("  and {} more findings", findings.len() - FINDINGS));
            }
        }
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => out.field("why", why),
        Verdict::Pass { .. } => {}
    }
    if !trial.planned.when_red.is_empty() {
        out.field("next", &trial.planned.when_red);
    }
    let commands = finished.commands().take(COMMANDS);
    commands.for_each(|command| out.field("look", command));
    out.field("again", &again_line(run, &trial.planned.trial));
}

/// The command line that runs that trial again.
fn again_line(run: &RunState, trial: &TrialName) -> String {
    again(run.run.as_ref().map_or(&[], |run| &run.again), trial)
}

/// What had to run and did not, by what required it.
fn shortfalls(out: &mut Sheet, run: &RunState) {
    for same in run.shortfalls.chunk_by(|a, b| a.required == b.required) {
        let word = out.palette.unsure("REQUIRED AND NOT RUN");
        out.gap();
        let required = out.palette.strong(printable(&same[0].required));
        out.line(format_args!("{word}  {required}"));
        same.iter()
            .for_each(|shortfall| out.line(format_args!("  {}", printable(&shortfall.why))));
    }
}

fn skipped(out: &mut Sheet, run: &RunState) {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for trial in &run.trials {
        let Some(Verdict::Skipped { why }) = trial.verdict() else {
            continue;
        };
        let name = trial.planned.trial.as_str();
        match groups.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, names)) => names.push(name),
            None => groups.push((why, vec![name])),
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

fn verdict(out: &mut Sheet, run: &RunState) {
    let palette = out.palette;
    let counts = run.counts();
    let aborted = run.aborted.as_ref();
    let code = run.exit_code.or(aborted.map(|(_, code)| *code));
    let code = code.unwrap_or(Exit::CouldNotTell.code());
    let exit = Exit::from_code(code);
    let word = exit.map_or("ended", Exit::word).to_uppercase();
    let word = match exit {
        Some(Exit::Passed) => palette.good(word),
        Some(Exit::Failed | Exit::Usage) => palette.bad(word),
        _ => palette.unsure(word),
    };
    let parts: Vec<String> = [
        (counts.passed, "passed"),
        (counts.failed, "failed"),
        (counts.inconclusive, "inconclusive"),
        (counts.skipped, "skipped"),
        (run.trials.len() - counts.total(), "unfinished"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, name)| format!("{number} {name}"))
    .collect();
    let tally = if parts.is_empty() {
        "no check ran".to_owned()
    } else {
        parts.join(", ")
    };
    let seconds = run.last.map_or(0.0, |last| run.elapsed(last));
    let meaning = match aborted {
        Some((reason, _)) => printable(reason),
        None => exit.map_or("", Exit::meaning).to_owned(),
    };
    out.gap();
    out.line(format_args!(
        "{word}  {tally}, {} (exit code {code}: {meaning})",
        duration(seconds)
    ));
}

#[cfg(test)]
mod tests;
