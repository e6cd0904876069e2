//! What is waived, and what kept checks from observing: in every format, each once.

use meshproof_contract::{
    ClusterChange, Event, EventRecord, Finding, Force, Instance, Silent, TrialName, Verdict, Waiver,
    event::{LOG_VERSION, PlannedTrial},
    waiver::{Spent, SpentWaiver},
};
use meshproof_report::{RunReport, event_schema, html, json, junit, markdown, metrics, report_schema};

fn waiver(force: Force) -> Waiver {
    Waiver {
        check: "service::several_ports".to_owned(),
        instance: None,
        reason: "an upstream bug".to_owned(),
        link: Some("https://example.org/45109".to_owned()),
        until: "2027-01-31".parse().expect("a date"),
        source: "meshproof.yaml:12".to_owned(),
        force,
    }
}

fn failed() -> Verdict {
    Verdict::Fail {
        findings: vec![Finding {
            subject: "infra-1 -> svc-global".to_owned(),
            expected: "answers of both clusters".to_owned(),
            observed: "apps never answers".to_owned(),
        }],
    }
}

fn ended(trial: &str, verdict: Verdict, silent: Vec<Silent>, waiver: Option<Waiver>) -> Event {
    Event::TrialFinished {
        trial: trial.into(),
        verdict,
        micros: 1,
        measurements: Vec::new(),
        evidence: Vec::new(),
        silent,
        waiver: waiver.map(Box::new),
    }
}

fn records(trials: Vec<Event>, exit_code: u8) -> Vec<EventRecord> {
    let planned = |event: &Event| match event {
        Event::TrialFinished { trial, .. } => Some(PlannedTrial {
            trial: trial.clone(),
            check: trial.check(),
            instance: trial.instance().unwrap_or(Instance::Cluster("infra".into())),
            title: format!("Title of {}", trial.check()),
            when_red: "Look.".to_owned(),
            control: String::new(),
        }),
        _ => None,
    };
    let mut events = vec![
        Event::RunStarted {
            log_version: LOG_VERSION,
            run: "r".into(),
            version: "0.1.0".to_owned(),
            command: vec!["meshproof".to_owned(), "run".to_owned()],
            again: vec!["meshproof".to_owned(), "run".to_owned(), "--exact".to_owned()],
        },
        Event::Planned {
            trials: trials.iter().filter_map(planned).collect(),
        },
    ];
    events.extend(trials);
    events.push(Event::RunFinished { exit_code });
    let at = "2026-11-21T14:20:00Z".parse().expect("a time");
    events.into_iter().map(|event| EventRecord { at, event }).collect()
}

fn report(trials: Vec<Event>, exit_code: u8) -> RunReport {
    let records = records(trials, exit_code);
    let schema = serde_json::to_value(event_schema()).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for record in &records {
        let line = serde_json::to_value(record).expect("JSON");
        assert!(validator.is_valid(&line), "{line}");
        assert_eq!(
            &serde_json::from_value::<EventRecord>(line).expect("reads back"),
            record
        );
    }
    let report = RunReport::from_events(&records);
    let schema = serde_json::to_value(report_schema()).expect("JSON");
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    assert!(
        jsonschema::validator_for(&schema).expect("a schema").is_valid(&value),
        "{value}"
    );
    assert_eq!(serde_json::from_value::<RunReport>(value).expect("reads back"), report);
    report
}

fn passed() -> Event {
    let witnesses = vec![meshproof_contract::Witness {
        what: "seen".to_owned(),
    }];
    ended("dns::latency[infra]", Verdict::Pass { witnesses }, Vec::new(), None)
}

#[test]
fn a_waived_failure_has_a_word_of_its_own_in_every_format() {
    let name = "service::several_ports[infra]";
    let report = report(
        vec![
            passed(),
            ended(name, failed(), Vec::new(), Some(waiver(Force::InForce))),
        ],
        0,
    );
    assert_eq!((report.counts.waived, report.counts.failed), (1, 0));
    let why = "until 2027-01-31: an upstream bug (https://example.org/45109)";
    let junit = junit(&report);
    assert!(
        junit.contains(&format!("<skipped message=\"waived {why}; fail: ")),
        "{junit}"
    );
    assert!(!junit.contains("<failure") && !junit.contains("<error"), "{junit}");
    let markdown = markdown(&report).replace('\\', "");
    assert!(
        markdown.contains(&format!("- Waived `{name}` {why}. Seen: fail: ")),
        "{markdown}"
    );
    assert!(markdown.contains("| inconclusive | waived | skipped |"), "{markdown}");
    let html = html(&report);
    assert!(
        html.contains("<h2>Waived checks</h2>") && html.contains("<b>1</b> waived"),
        "{html}"
    );
    assert!(!html.contains("<h2>Failed checks</h2>"), "{html}");
    let metrics = metrics(&report);
    assert!(
        metrics.contains("meshproof_trials{suite=\"service\",verdict=\"waived\"} 1")
            && metrics
                .contains("meshproof_trial_verdict{check=\"service::several_ports\",from=\"infra\",to=\"infra\"} 0"),
        "{metrics}"
    );
}

#[test]
fn a_waiver_that_must_go_is_first_and_junit_is_red() {
    let spent = SpentWaiver {
        waiver: waiver(Force::InForce),
        why: Spent::Passed,
    };
    let report = report(vec![passed(), Event::WaiversSpent { waivers: vec![spent] }], 1);
    let text = "emove the waiver of service::several_ports (meshproof.yaml:12): it passed";
    let (junit, markdown) = (junit(&report), markdown(&report).replace('\\', ""));
    assert!(junit.contains(text) && junit.contains("<failure"), "{junit}");
    assert!(markdown.contains(text) && html(&report).contains(text), "{markdown}");
    assert!(
        markdown.contains("Nothing failed that is not waived, but a waiver must go"),
        "{markdown}"
    );
}

#[test]
fn one_cause_is_one_sentence_and_one_message() {
    let silent = || {
        vec![Silent::Probe {
            cluster: "apps".into(),
            node: Some("apps-2".into()),
            pod: "client-2".to_owned(),
        }]
    };
    let not_ready = Event::ClusterChanged {
        cluster: "apps".into(),
        change: ClusterChange::NodeNotReady {
            node: "apps-2".into(),
            since: Some("2026-11-21T14:18:31Z".parse().expect("a time")),
        },
    };
    let names: Vec<TrialName> = (0..97).map(|n| format!("a::check_{n}[apps]").into()).collect();
    let mut events = vec![not_ready];
    for (n, name) in names.iter().enumerate() {
        // Each says it in its own words.
        let why = format!("agent apps/client-2 does not answer: reset number {n}");
        events.push(ended(name.as_str(), Verdict::inconclusive(why), silent(), None));
    }
    events.push(ended("a::red[apps]", failed(), Vec::new(), None));
    let report = report(events, 1);
    let cause = "ode apps-2 of apps has not been Ready since 14:18:31 UTC";
    let counted = format!("{cause}: 97 checks could not observe because of it");
    let markdown = markdown(&report).replace('\\', "");
    assert!(markdown.contains(&counted), "{markdown}");
    assert!(!markdown.contains("Inconclusive:"), "{markdown}");
    assert!(markdown.contains(&format!("**Meanwhile:** n{cause}")), "{markdown}");
    let html = html(&report);
    assert!(
        html.contains(&counted) && html.contains("<p class=\"name\">97 checks could not observe"),
        "{html}"
    );
    let junit = junit(&report);
    assert_eq!(
        junit
            .matches(&format!("<error message=\"could not observe: n{cause}\""))
            .count(),
        97,
        "{junit}"
    );
    assert!(junit.contains("reset number 96"), "its own words stay in its body");
    assert!(json(&report).contains(&format!("\"text\": \"n{cause}\"")));
}
