//! From the state of a run to its report. A log that ends anywhere gives a report: what is missing is inconclusive.

use super::{Ending, PhaseReport, REPORT_VERSION, RunReport, SuiteReport, TrialReport};
use jiff::Timestamp;
use meshproof_contract::{
    EventRecord, Exit, RunId, RunState, Verdict, again,
    event::PlannedTrial,
    run_state::{Counts, RunIdentity, TrialState},
};

impl RunReport {
    /// The report of a log, complete or cut.
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a EventRecord>) -> Self {
        let mut state = RunState::default();
        events.into_iter().for_each(|event| state.handle(event));
        Self::of(&state)
    }

    /// The report of what is known so far.
    pub fn of(state: &RunState) -> Self {
        let RunIdentity {
            run,
            version,
            command,
            again,
        } = state.run.clone().unwrap_or_else(|| RunIdentity {
            run: RunId::new("unknown"),
            version: "unknown".to_owned(),
            command: Vec::new(),
            again: Vec::new(),
        });
        let ending = match (&state.aborted, state.exit_code) {
            (Some((reason, _)), _) => Ending::Aborted { reason: reason.clone() },
            (None, Some(_)) => Ending::Complete,
            (None, None) => Ending::Cut,
        };
        let suites = suites(state, &again, &ending);
        let counts = Counts::of(suites.iter().flat_map(|suite| &suite.trials).map(TrialReport::standing));
        let exit_code = state.exit_code.unwrap_or_else(|| exit_of_a_cut_log(state, &counts));
        Self {
            report_version: REPORT_VERSION,
            run,
            version,
            command,
            started: state.first,
            seconds: seconds_between(state.first, state.last),
            ending,
            exit_code,
            verdict: Exit::from_code(exit_code).map_or("unknown", Exit::word).to_owned(),
            counts,
            claims_from_live_configuration: state
                .facts
                .as_ref()
                .is_some_and(|facts| !facts.live_claims().is_empty()),
            claims: state.claims(),
            shortfalls: state.shortfalls.clone(),
            spent_waivers: state.spent_waivers.clone(),
            causes: state.causes(),
            common_place: state.common_place(),
            diagnosis: state.diagnosis(),
            warnings: state.warnings.clone(),
            faults: state.faults.clone(),
            phases: phases(state),
            api_requests: state.api_requests.clone(),
            suites,
            facts: state.facts.clone(),
        }
    }
}

fn suites(state: &RunState, again: &[String], ending: &Ending) -> Vec<SuiteReport> {
    let mut suites: Vec<SuiteReport> = Vec::new();
    for trial in &state.trials {
        let trial = trial_report(state, trial, again, ending);
        let name = trial.check.suite().to_owned();
        match suites.iter_mut().find(|suite| suite.name == name) {
            Some(suite) => suite.trials.push(trial),
            None => suites.push(SuiteReport {
                name,
                counts: Counts::default(),
                seconds: 0.0,
                trials: vec![trial],
            }),
        }
    }
    for suite in &mut suites {
        suite.counts = Counts::of(suite.trials.iter().map(TrialReport::standing));
        suite.seconds = suite.trials.iter().map(|trial| trial.seconds).sum();
    }
    suites
}

fn trial_report(run: &RunState, state: &TrialState, words: &[String], ending: &Ending) -> TrialReport {
    let PlannedTrial {
        trial,
        check,
        title,
        when_red,
        control,
        ..
    } = state.planned.clone();
    let finished = state.finished.clone();
    let verdict = match &finished {
        Some(finished) => finished.verdict.clone(),
        None => unfinished(state.started.is_some(), ending),
    };
    let meanwhile = match verdict {
        Verdict::Fail { .. } => run.meanwhile(state).map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let (micros, measurements, evidence, waiver) = match finished {
        Some(finished) => (
            finished.micros,
            finished.measurements,
            finished.evidence,
            finished.waiver,
        ),
        None => (0, Vec::new(), Vec::new(), None),
    };
    TrialReport {
        again: again(words, &trial),
        trial,
        check,
        instance: state.instance.clone(),
        title,
        when_red,
        control,
        started: state.started,
        seconds: micros as f64 / 1e6,
        verdict,
        measurements,
        evidence,
        waiver,
        meanwhile,
    }
}

fn unfinished(started: bool, ending: &Ending) -> Verdict {
    let when = if started { "while it ran" } else { "before it started" };
    Verdict::inconclusive(match ending {
        Ending::Aborted { reason } => format!("the run was aborted {when}: {reason}"),
        Ending::Cut | Ending::Complete => format!("the run ended {when}"),
    })
}

/// Without the last event, the worst of what is known: the reason for aborting, or else inconclusive.
fn exit_of_a_cut_log(state: &RunState, counts: &Counts) -> u8 {
    let known = state.aborted.as_ref().and_then(|(_, code)| Exit::from_code(*code));
    known.unwrap_or(Exit::CouldNotTell).max(counts.exit()).code()
}

fn phases(state: &RunState) -> Vec<PhaseReport> {
    let ends = state.phases.iter().skip(1).map(|(_, at)| Some(*at)).chain([state.last]);
    let phases = state.phases.iter().zip(ends);
    phases
        .map(|((phase, start), end)| PhaseReport {
            phase: *phase,
            seconds: seconds_between(Some(*start), end),
        })
        .collect()
}

fn seconds_between(from: Option<Timestamp>, to: Option<Timestamp>) -> f64 {
    match (from, to) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64().max(0.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
