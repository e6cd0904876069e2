//! From events to the report. Tolerant of a log that ends anywhere: what is missing is inconclusive, never lost.

use crate::model::{
    Counts, Ending, FaultReport, PhaseReport, REPORT_VERSION, RunReport, SuiteReport, TrialReport, has_live_claims,
};
use jiff::Timestamp;
use meshproof_contract::{
    CheckId, Event, EventRecord, Evidence, Exit, Facts, Instance, Measurement, RunId, TrialName, Verdict, again,
    event::{FaultChange, Phase, PlannedTrial, Shortfall},
};
use std::collections::HashMap;

/// The events so far.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    run: Option<RunHead>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    phases: Vec<(Phase, Timestamp)>,
    shortfalls: Vec<Shortfall>,
    warnings: Vec<String>,
    faults: Vec<FaultReport>,
    facts: Option<Facts>,
    trials: Vec<Progress>,
    position: HashMap<TrialName, usize>,
    aborted: Option<(String, u8)>,
    exit_code: Option<u8>,
}

#[derive(Clone, Debug)]
struct RunHead {
    run: RunId,
    version: String,
    command: Vec<String>,
    again: Vec<String>,
}

#[derive(Clone, Debug)]
struct Progress {
    planned: PlannedTrial,
    instance: Option<Instance>,
    started: Option<Timestamp>,
    finished: Option<Finished>,
}

#[derive(Clone, Debug)]
struct Finished {
    verdict: Verdict,
    micros: u64,
    measurements: Vec<Measurement>,
    evidence: Vec<Evidence>,
}

impl RunReport {
    /// The report of a log, complete or cut.
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a EventRecord>) -> Self {
        let mut fold = Fold::default();
        events.into_iter().for_each(|event| fold.handle(event));
        fold.report()
    }
}

impl Fold {
    /// Takes one more event.
    pub fn handle(&mut self, record: &EventRecord) {
        self.first.get_or_insert(record.at);
        self.last = Some(record.at);
        match &record.event {
            Event::RunStarted {
                run,
                version,
                command,
                again,
                ..
            } => {
                self.run = Some(RunHead {
                    run: run.clone(),
                    version: version.clone(),
                    command: command.clone(),
                    again: again.clone(),
                });
            }
            Event::Phase { phase } => self.phases.push((*phase, record.at)),
            Event::Waiting { .. } => {}
            Event::Warning { message } => self.warnings.push(message.clone()),
            Event::FactsFound { facts } => self.facts = Some((**facts).clone()),
            Event::Planned { trials } => trials.iter().for_each(|trial| self.plan(trial.clone())),
            Event::TrialStarted { trial } => self.trial(trial).started = Some(record.at),
            Event::TrialFinished {
                trial,
                verdict,
                micros,
                measurements,
                evidence,
            } => {
                let finished = Finished {
                    verdict: verdict.clone(),
                    micros: *micros,
                    measurements: measurements.clone(),
                    evidence: evidence.clone(),
                };
                let progress = self.trial(trial);
                // A trial that ran again keeps its worst verdict, so that a repetition cannot hide a failure.
                let worse = |before: &Finished| severity(&finished.verdict) > severity(&before.verdict);
                if progress.finished.as_ref().is_none_or(worse) {
                    progress.finished = Some(finished);
                }
            }
            Event::Fault { fault, change } => match change {
                FaultChange::Injected => self.faults.push(FaultReport {
                    fault: fault.clone(),
                    healed: false,
                }),
                FaultChange::Healed => {
                    self.faults
                        .iter_mut()
                        .filter(|f| &f.fault == fault)
                        .for_each(|f| f.healed = true);
                }
            },
            Event::RequiredMissed { shortfalls } => self.shortfalls.extend(shortfalls.iter().cloned()),
            Event::Aborted { reason, exit_code } => self.aborted = Some((reason.clone(), *exit_code)),
            Event::RunFinished { exit_code } => self.exit_code = Some(*exit_code),
        }
    }

    /// The report of what has been taken so far.
    pub fn report(&self) -> RunReport {
        let RunHead {
            run,
            version,
            command,
            again,
        } = self.run.clone().unwrap_or_else(|| RunHead {
            run: RunId::new("unknown"),
            version: "unknown".to_owned(),
            command: Vec::new(),
            again: Vec::new(),
        });
        let ending = match (&self.aborted, self.exit_code) {
            (Some((reason, _)), _) => Ending::Aborted { reason: reason.clone() },
            (None, Some(_)) => Ending::Complete,
            (None, None) => Ending::Cut,
        };
        let mut suites: Vec<SuiteReport> = Vec::new();
        for progress in &self.trials {
            let trial = trial_report(progress, &again, &ending);
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
            suite.counts = Counts::of(&suite.trials);
            suite.seconds = suite.trials.iter().map(|trial| trial.seconds).sum();
        }
        let counts = Counts::of(suites.iter().flat_map(|suite| &suite.trials));
        let exit_code = self.exit_code.unwrap_or_else(|| self.exit_of_a_cut_log(&counts));
        RunReport {
            report_version: REPORT_VERSION,
            run,
            version,
            command,
            started: self.first,
            seconds: seconds_between(self.first, self.last),
            ending,
            exit_code,
            verdict: Exit::from_code(exit_code).map_or("unknown", Exit::word).to_owned(),
            counts,
            claims_from_live_configuration: self.facts.as_ref().is_some_and(has_live_claims),
            shortfalls: self.shortfalls.clone(),
            warnings: self.warnings.clone(),
            faults: self.faults.clone(),
            phases: self.phases(),
            suites,
            facts: self.facts.clone(),
        }
    }

    /// Without the last event, the worst of what is known: the reason for aborting, or else that it could not be told.
    fn exit_of_a_cut_log(&self, counts: &Counts) -> u8 {
        let told = self
            .aborted
            .as_ref()
            .and_then(|(_, code)| Exit::from_code(*code))
            .unwrap_or(Exit::CouldNotTell);
        told.max(counts.exit()).code()
    }

    fn phases(&self) -> Vec<PhaseReport> {
        let ends = self.phases.iter().skip(1).map(|(_, at)| Some(*at)).chain([self.last]);
        self.phases
            .iter()
            .zip(ends)
            .map(|((phase, start), end)| PhaseReport {
                phase: *phase,
                seconds: seconds_between(Some(*start), end),
            })
            .collect()
    }

    fn plan(&mut self, planned: PlannedTrial) {
        let instance = Some(planned.instance.clone());
        match self.position.get(&planned.trial) {
            Some(at) => {
                self.trials[*at].planned = planned;
                self.trials[*at].instance = instance;
            }
            None => self.push(Progress {
                planned,
                instance,
                started: None,
                finished: None,
            }),
        }
    }

    /// The trial of that name; one that was never planned is known by its name alone.
    fn trial(&mut self, name: &TrialName) -> &mut Progress {
        let at = match self.position.get(name) {
            Some(at) => *at,
            None => {
                let (check, instance) = split(name);
                let planned = PlannedTrial {
                    trial: name.clone(),
                    title: check.to_string(),
                    check,
                    instance: instance.clone().unwrap_or(Instance::Cluster("unknown".into())),
                    when_red: String::new(),
                    control: String::new(),
                };
                self.push(Progress {
                    planned,
                    instance,
                    started: None,
                    finished: None,
                });
                self.trials.len() - 1
            }
        };
        &mut self.trials[at]
    }

    fn push(&mut self, progress: Progress) {
        self.position.insert(progress.planned.trial.clone(), self.trials.len());
        self.trials.push(progress);
    }
}

fn trial_report(progress: &Progress, words: &[String], ending: &Ending) -> TrialReport {
    let PlannedTrial {
        trial,
        check,
        title,
        when_red,
        control,
        ..
    } = progress.planned.clone();
    let finished = progress.finished.clone().unwrap_or_else(|| Finished {
        verdict: unfinished(progress.started.is_some(), ending),
        micros: 0,
        measurements: Vec::new(),
        evidence: Vec::new(),
    });
    TrialReport {
        again: again(words, &trial),
        trial,
        check,
        instance: progress.instance.clone(),
        title,
        when_red,
        control,
        started: progress.started,
        seconds: finished.micros as f64 / 1e6,
        verdict: finished.verdict,
        measurements: finished.measurements,
        evidence: finished.evidence,
    }
}

fn unfinished(started: bool, ending: &Ending) -> Verdict {
    let when = if started { "while it ran" } else { "before it started" };
    Verdict::inconclusive(match ending {
        Ending::Aborted { reason } => format!("the run was aborted {when}: {reason}"),
        Ending::Cut | Ending::Complete => format!("the run ended {when}"),
    })
}

fn severity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Skipped { .. } => 0,
        Verdict::Pass { .. } => 1,
        Verdict::Inconclusive { .. } => 2,
        Verdict::Fail { .. } => 3,
    }
}

/// `suite::check[infra->apps]` taken apart.
fn split(name: &TrialName) -> (CheckId, Option<Instance>) {
    let Some((check, rest)) = name.as_str().split_once('[') else {
        return (name.as_str().into(), None);
    };
    let inner = rest.trim_end_matches(']');
    let instance = match inner.split_once("->") {
        Some((from, to)) => Instance::Direction {
            from: from.into(),
            to: to.into(),
        },
        None => Instance::Cluster(inner.into()),
    };
    (check.into(), Some(instance))
}

fn seconds_between(from: Option<Timestamp>, to: Option<Timestamp>) -> f64 {
    match (from, to) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64().max(0.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::mixed;
    use proptest::prelude::*;

    #[test]
    fn a_complete_log_has_every_trial_with_its_verdict() {
        let report = RunReport::from_events(&mixed());
        assert_eq!(report.ending, Ending::Complete);
        assert_eq!((report.exit_code, report.verdict.as_str()), (1, "failed"));
        assert_eq!(
            report.counts,
            Counts {
                passed: 23,
                failed: 1,
                inconclusive: 1,
                skipped: 1
            }
        );
        assert_eq!(
            report.suites.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            ["connectivity", "dns", "mesh", "encryption"]
        );
        assert!(report.claims_from_live_configuration);
        let failed = report.failed();
        assert_eq!(failed[0].trial.as_str(), "connectivity::udp[infra->apps]");
        assert_eq!(
            failed[0].headline(),
            "infra-1 -> apps-2: no answer within 1500 ms (and 2 more)"
        );
        assert!(
            failed[0].again.ends_with("--exact 'connectivity::udp[infra->apps]'"),
            "{}",
            failed[0].again
        );
        assert_eq!(report.skipped()[0].0, "not claimed: encryption");
        let phases: f64 = report.phases.iter().map(|p| p.seconds).sum();
        assert!((report.seconds - phases).abs() < 0.1, "{phases} of {}", report.seconds);
    }

    #[test]
    fn a_cut_log_is_never_green() {
        let events = mixed();
        let planned = events
            .iter()
            .position(|e| matches!(e.event, Event::Planned { .. }))
            .expect("planned");
        let report = RunReport::from_events(&events[..planned + 4]);
        assert_eq!((report.ending.clone(), report.exit_code), (Ending::Cut, 3));
        assert_eq!(report.counts.inconclusive + report.counts.passed, 26);
        let whys: Vec<String> = report.inconclusive().iter().map(|t| t.headline()).collect();
        assert!(whys.contains(&"the run ended while it ran".to_owned()), "{whys:?}");
        assert!(whys.contains(&"the run ended before it started".to_owned()), "{whys:?}");
    }

    #[test]
    fn aborting_keeps_its_reason_and_code() {
        let mut events = mixed();
        let at = events[0].at;
        events.truncate(8);
        events.push(EventRecord {
            at,
            event: Event::Aborted {
                reason: "interrupted".into(),
                exit_code: 130,
            },
        });
        let report = RunReport::from_events(&events);
        assert_eq!(report.exit_code, 130);
        assert_eq!(report.meaning(), "the run could not go on: interrupted");
    }

    #[test]
    fn a_trial_that_was_never_planned_is_known_by_its_name() {
        let events: Vec<_> = mixed()
            .into_iter()
            .filter(|e| !matches!(e.event, Event::Planned { .. }))
            .collect();
        let report = RunReport::from_events(&events);
        assert_eq!(report.counts.total(), 26);
        let udp = report.failed()[0];
        assert_eq!(udp.check.as_str(), "connectivity::udp");
        assert_eq!(
            udp.instance,
            Some(Instance::Direction {
                from: "infra".into(),
                to: "apps".into()
            })
        );
    }

    proptest! {
        #[test]
        fn any_selection_of_events_folds_without_loss(keep in proptest::collection::vec(any::<bool>(), 80)) {
            let events: Vec<_> = mixed().into_iter().zip(&keep).filter_map(|(e, keep)| keep.then_some(e)).collect();
            let report = RunReport::from_events(&events);
            for event in &events {
                let Event::TrialFinished { trial, verdict, .. } = &event.event else { continue };
                let kept = report.trials().find(|t| &t.trial == trial).map(|t| t.verdict.word());
                prop_assert_eq!(kept, Some(verdict.word()));
            }
            prop_assert!(report.exit_code != 0, "a selection of a failed run is never green");
        }
    }
}
