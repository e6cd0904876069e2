//! The result on stdout: what was red and what to do about it, where the reports are, and what the exit code means.

mod sheet;

use crate::{palette::Palette, terminal::printable};
use meshproof_contract::{
    Exit, LinkKind, RunState, Standing, TrialName, Verdict, again, api_requests_line,
    run_state::{CommonPlace, Counts, Diagnosis, FinishedTrial, TrialState, claims_line},
    text::{counted, duration},
    waiver::SPENT,
};
use sheet::Sheet;
use std::path::Path;

/// Findings shown of one trial; the reports have all.
const FINDINGS: usize = 8;
/// Red trials shown in full; of the rest the names are.
const IN_FULL: usize = 12;
/// Broken claims shown.
const CLAIMS: usize = 12;
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
    let place = run.common_place();
    if detail == Detail::Full {
        head(&mut out, run, place.as_ref());
        claims(&mut out, run);
        suites(&mut out, run);
    }
    let (red, there) = apart(red(run), place.as_ref());
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
    if let Some(place) = &place.filter(|_| !there.is_empty()) {
        out.gap();
        let word = out.palette.bad("FAILED");
        let number = out.palette.strong(counted(there.len(), "more red check"));
        out.line(format_args!(
            "{word}  {number} {}:",
            printable(&place.place.to_string())
        ));
        let names: Vec<&str> = there.iter().map(|trial| trial.planned.trial.as_str()).collect();
        out.names(&names);
    }
    unobserved(&mut out, run);
    waived(&mut out, run, detail);
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

fn head(out: &mut Sheet, run: &RunState, place: Option<&CommonPlace>) {
    let palette = out.palette;
    if let Some(notice) = run.facts.as_ref().and_then(|facts| facts.live_claims_notice()) {
        out.line(format_args!("{}", palette.unsure(notice)));
    }
    for fault in run.active_faults() {
        let notice = format!("fault injected on purpose: {fault}");
        out.line(format_args!("{}", palette.unsure(notice)));
    }
    for sentence in run.diagnosis().iter().flat_map(Diagnosis::sentences) {
        out.line(format_args!("{}", palette.bad(printable(&sentence))));
    }
    if let Some(place) = place {
        out.line(format_args!("{}", palette.bad(printable(&place.text))));
    }
    for cause in run.causes() {
        out.line(format_args!("{}", palette.unsure(printable(&cause.sentence()))));
    }
    for warning in &run.warnings {
        out.line(format_args!("{} {}", palette.unsure("warning:"), printable(warning)));
    }
}

/// How many claims hold, and the broken ones with their links.
fn claims(out: &mut Sheet, run: &RunState) {
    let claims = run.claims();
    let Some(line) = claims_line(&claims) else { return };
    let broken: Vec<_> = claims.iter().filter(|claim| claim.is_broken()).collect();
    out.gap();
    out.line(format_args!("{}", out.palette.strong(line)));
    for claim in broken.iter().take(CLAIMS) {
        let says = [LinkKind::Git, LinkKind::Helm, LinkKind::Live, LinkKind::Agents].map(|kind| claim.says(kind));
        let text = format!(
            "{} {}: Git {}, Helm {}, live {}, agents {}, seen {}",
            claim.chain.cluster, claim.chain.claim, says[0], says[1], says[2], says[3], claim.seen
        );
        out.line(format_args!("  {}", printable(&text)));
    }
    if broken.len() > CLAIMS {
        out.line(format_args!("  and {} more, see the reports", broken.len() - CLAIMS));
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
    let any_waived = run.counts().waived > 0;
    let waived = if any_waived { "  waived" } else { "" };
    let head = format!(
        "{:<width$}  passed  failed  inconclusive{waived}  skipped        time",
        "suite"
    );
    out.line(format_args!("{}", palette.faint(head)));
    for (name, trials) in rows {
        let counts = Counts::of(trials.iter().filter_map(|trial| trial.standing()));
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
        let waived = match any_waived {
            true => format!("  {}", cell(counts.waived, 6, |_, text| text)),
            false => String::new(),
        };
        out.line(format_args!(
            "{name:<width$}  {}  {}  {}{waived}  {}  {:>10}",
            cell(counts.passed, 6, Palette::good),
            cell(counts.failed, 6, Palette::bad),
            cell(counts.inconclusive + unfinished, 12, Palette::unsure),
            cell(counts.skipped, 7, |_, text| text),
            duration(micros as f64 / 1e6),
        ));
    }
}

/// Failed trials one by one, then inconclusive ones by their reason: one agent that is away is one thing to look at,
/// however many checks need it. What a cause explains has been told with the cause.
fn red(run: &RunState) -> Vec<Vec<&TrialState>> {
    let causes = run.causes();
    let is_explained = |trial: &TrialState| causes.iter().any(|cause| cause.concerns(&trial.planned.trial));
    let mut failed = Vec::new();
    let mut inconclusive: Vec<(&str, Vec<&TrialState>)> = Vec::new();
    for trial in &run.trials {
        match (trial.standing(), trial.verdict()) {
            (Some(Standing::Failed), _) => failed.push(vec![trial]),
            (Some(Standing::Inconclusive), _) if is_explained(trial) => {}
            (Some(Standing::Inconclusive), Some(Verdict::Inconclusive { why })) => {
                match inconclusive.iter_mut().find(|(reason, _)| reason == why) {
                    Some((_, trials)) => trials.push(trial),
                    None => inconclusive.push((why, vec![trial])),
                }
            }
            _ => {}
        }
    }
    failed.extend(inconclusive.into_iter().map(|(_, trials)| trials));
    failed
}

/// Of what is red in one place and nowhere else the first failure is shown, and of the rest the names are.
fn apart<'a>(
    red: Vec<Vec<&'a TrialState>>,
    place: Option<&CommonPlace>,
) -> (Vec<Vec<&'a TrialState>>, Vec<&'a TrialState>) {
    let Some(place) = place else {
        return (red, Vec::new());
    };
    let is_there = |group: &Vec<&TrialState>| group.iter().all(|trial| place.concerns(&trial.planned.trial));
    let first = red.iter().position(is_there);
    let (mut shown, mut rest) = (Vec::new(), Vec::new());
    for (at, group) in red.into_iter().enumerate() {
        if Some(at) == first {
            shown.insert(0, group);
        } else if is_there(&group) {
            rest.extend(group);
        } else {
            shown.push(group);
        }
    }
    (shown, rest)
}

/// What kept checks from observing, with the names of these checks.
fn unobserved(out: &mut Sheet, run: &RunState) {
    for cause in run.causes().iter().filter(|cause| !cause.unobserved.is_empty()) {
        let word = out.palette.unsure("INCONCLUSIVE");
        let number = out.palette.strong(counted(cause.unobserved.len(), "check"));
        out.gap();
        out.line(format_args!("{word}  {number}: {}", printable(&cause.text)));
        let names: Vec<&str> = cause.unobserved.iter().map(TrialName::as_str).collect();
        out.names(&names);
    }
}

/// Failures that are accepted, a line each, and the waivers that must go.
fn waived(out: &mut Sheet, run: &RunState, detail: Detail) {
    let accepted = run.trials.iter().filter_map(|trial| {
        let finished = trial.finished.as_ref()?;
        trial.standing()?.is_waived().then_some((trial, finished))
    });
    for (trial, finished) in accepted.filter(|_| detail == Detail::Full) {
        out.gap();
        let name = out.palette.strong(printable(trial.planned.trial.as_str()));
        out.line(format_args!("{}  {name}", out.palette.strong("WAIVED")));
        if let Some(waiver) = &finished.waiver {
            out.field("waiver", &waiver.to_string());
        }
        out.field(finished.verdict.word(), &finished.verdict.headline());
    }
    for spent in &run.spent_waivers {
        out.gap();
        out.line(format_args!(
            "{}  {}",
            out.palette.bad("WAIVER"),
            printable(&spent.to_string())
        ));
    }
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
    for known in finished.known_faults() {
        out.field("known", &known.to_string());
        out.field("to accept", &known.waiver);
    }
    if matches!(verdict, Verdict::Fail { .. }) {
        let meanwhile = run.meanwhile(trial);
        meanwhile.for_each(|trouble| out.field("meanwhile", &trouble.to_string()));
    }
    if let Some(waiver) = &finished.waiver {
        out.field("waiver", &waiver.to_string());
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
        (counts.waived, "waived"),
        (counts.skipped, "skipped"),
        (run.trials.len() - counts.total(), "unfinished"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, name)| format!("{number} {name}"))
    .collect();
    let only_waivers = counts.failed == 0 && !run.spent_waivers.is_empty() && exit == Some(Exit::Failed);
    let tally = if parts.is_empty() {
        "no check ran".to_owned()
    } else {
        parts.join(", ")
    };
    let seconds = run.last.map_or(0.0, |last| run.elapsed(last));
    let meaning = match aborted {
        Some((reason, _)) => printable(reason),
        None if only_waivers => SPENT.to_owned(),
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
