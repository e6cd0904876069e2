//! The live view: phase, what it waits for, how many checks are done, those that run longest, and what is red.

use crate::{
    palette::Palette,
    terminal::{clip, clock, printable},
};
use jiff::Timestamp;
use meshproof_contract::{RunState, Standing, Verdict, run_state::TrialState};
use std::cmp::Reverse;

/// Trials shown while they run.
const RUNNING: usize = 4;
/// Red trials shown while others still run.
const RED: usize = 6;
/// Turns of the spinner, ten a second.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The run as lines of at most `width` characters.
pub(crate) fn live(run: &RunState, now: Timestamp, width: usize, palette: Palette) -> String {
    let width = width.max(20);
    let mut lines = vec![head(run, now, width, palette)];
    if let Some(what) = &run.waiting {
        lines.push(palette.faint(clip(&format!("  {}", printable(what)), width)));
    }
    let faults: Vec<&str> = run.active_faults().map(|fault| fault.as_str()).collect();
    if !faults.is_empty() {
        lines.push(palette.unsure(clip(
            &format!("  fault injected on purpose: {}", faults.join(", ")),
            width,
        )));
    }
    lines.extend(running(run, now, width));
    lines.extend(red(run, width, palette));
    lines.join("\n")
}

fn head(run: &RunState, now: Timestamp, width: usize, palette: Palette) -> String {
    let elapsed = run.elapsed(now);
    let spinner = SPINNER[(elapsed * 10.0) as usize % SPINNER.len()];
    let phase = match run.phases.last() {
        Some((phase, _)) => phase.to_string(),
        None => "starting".to_owned(),
    };
    let clock = clock(elapsed);
    if run.trials.is_empty() {
        return format!(
            "{} {}  {}",
            palette.strong(spinner),
            palette.strong(&phase),
            palette.faint(clock)
        );
    }
    let counts = run.counts();
    let progress = format!("{} of {} checks", counts.total(), run.trials.len());
    let mut tally = Vec::new();
    for (number, word, paint) in [
        (counts.failed, "failed", Palette::bad as fn(Palette, String) -> String),
        (counts.inconclusive, "inconclusive", Palette::unsure),
        (counts.passed, "passed", Palette::good),
        (counts.waived, "waived", Palette::faint),
        (counts.skipped, "skipped", Palette::faint),
    ] {
        if number > 0 {
            tally.push((format!("{number} {word}"), paint));
        }
    }
    let fixed = 2 + phase.chars().count() + 2 + progress.chars().count() + 2 + clock.chars().count();
    let tally_width: usize = tally.iter().map(|(text, _)| text.chars().count() + 2).sum();
    let mut line = format!("{} {}  {progress}", palette.strong(spinner), palette.strong(&phase));
    let bar_width = width.saturating_sub(fixed + tally_width + 2).min(30);
    if bar_width >= 8 {
        line += &format!("  {}", bar(counts.total(), run.trials.len(), bar_width, palette));
    }
    line += &format!("  {}", palette.faint(clock));
    if fixed + tally_width <= width {
        for (text, paint) in tally {
            line += &format!("  {}", paint(palette, text));
        }
    }
    line
}

fn bar(done: usize, of: usize, width: usize, palette: Palette) -> String {
    let full = (done * width).checked_div(of).unwrap_or(0).min(width);
    format!(
        "{}{}",
        palette.good("━".repeat(full)),
        palette.faint("─".repeat(width - full))
    )
}

/// Those that have run longest, since they are what the run waits for.
fn running(run: &RunState, now: Timestamp, width: usize) -> Vec<String> {
    let mut running: Vec<(Timestamp, &TrialState)> = run
        .trials
        .iter()
        .filter_map(|trial| Some((trial.running_since()?, trial)))
        .collect();
    running.sort_by_key(|(since, _)| *since);
    let more = running.len().saturating_sub(RUNNING);
    let mut lines: Vec<String> = running
        .iter()
        .take(RUNNING)
        .map(|(since, trial)| {
            let time = format!("{:>6.1} s", now.duration_since(*since).as_secs_f64().max(0.0));
            clip(&format!("{time}  {}", printable(trial.planned.trial.as_str())), width)
        })
        .collect();
    if more > 0 {
        lines.push(clip(&format!("          and {more} more"), width));
    }
    lines
}

/// The newest first, since the older ones were on the screen already.
fn red(run: &RunState, width: usize, palette: Palette) -> Vec<String> {
    let mut red: Vec<(usize, &TrialState, &Verdict)> = run
        .trials
        .iter()
        .enumerate()
        .filter(|(_, trial)| matches!(trial.standing(), Some(Standing::Failed | Standing::Inconclusive)))
        .filter_map(|(order, trial)| Some((order, trial, trial.verdict()?)))
        .collect();
    red.sort_by_key(|(order, _, verdict)| (!matches!(verdict, Verdict::Fail { .. }), Reverse(*order)));
    let more = red.len().saturating_sub(RED);
    let mut lines: Vec<String> = red
        .iter()
        .take(RED)
        .map(|(_, trial, verdict)| {
            let text = clip(
                &printable(&format!("{}  {}", trial.planned.trial, verdict.headline())),
                width.saturating_sub(4),
            );
            match verdict {
                Verdict::Fail { .. } => format!("  {} {text}", palette.bad('✗')),
                _ => format!("  {} {text}", palette.unsure('?')),
            }
        })
        .collect();
    if more > 0 {
        lines.push(clip(&format!("    and {more} more"), width));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::{mixed, state_after},
        snapshot,
    };
    use meshproof_contract::Event;

    fn frame(count: usize, width: usize) -> String {
        let now = mixed()[count - 1].at + std::time::Duration::from_millis(650);
        live(&state_after(count), now, width, Palette::Plain)
    }
    fn last_red() -> usize {
        let red = |record: &meshproof_contract::EventRecord| {
            matches!(
                &record.event,
                Event::TrialFinished {
                    verdict: Verdict::Fail { .. },
                    ..
                }
            )
        };
        mixed().iter().position(red).expect("a failure") + 1
    }

    #[test]
    fn while_deploying() {
        snapshot::assert("while_deploying", &frame(6, 100));
    }

    #[test]
    fn while_checking_with_a_failure() {
        snapshot::assert("while_checking_with_a_failure", &frame(last_red(), 110));
    }

    #[test]
    fn on_a_narrow_terminal() {
        snapshot::assert("on_a_narrow_terminal", &frame(last_red(), 46));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for count in 1..=mixed().len() {
            for width in [20, 33, 60, 80, 200] {
                let frame = frame(count, width);
                let widest = frame.lines().map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(widest <= width.max(46), "{widest} characters on {width}:\n{frame}");
            }
        }
    }

    #[test]
    fn plain_means_no_escape_codes() {
        assert!(!frame(last_red(), 100).contains('\u{1b}'));
        let colour = live(&state_after(last_red()), mixed()[0].at, 100, Palette::Colour);
        assert!(colour.contains("\u{1b}[1;31m✗\u{1b}[0m"), "{colour:?}");
    }
}
