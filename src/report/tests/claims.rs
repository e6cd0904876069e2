//! Who claims what, and what had to run and did not: in every format, where people look first.

use meshproof_contract::{
    Claim, ClaimKind, ClaimSource, ClusterFacts, Event, EventRecord, Facts, Verdict, Witness,
    event::{LOG_VERSION, PlannedTrial, Shortfall},
};
use meshproof_report::{RunReport, html, json, junit, markdown};

fn claim(cluster: &str, value: &str, source: ClaimSource) -> Claim {
    Claim {
        cluster: cluster.into(),
        kind: ClaimKind::Encryption,
        value: value.to_owned(),
        source,
    }
}

fn cluster(name: &str) -> ClusterFacts {
    ClusterFacts {
        name: name.into(),
        context: name.to_owned(),
        version: "v1.36.0".to_owned(),
        nodes: Vec::new(),
        dns: None,
        cilium: None,
    }
}

/// A run in which one check passed, with infra's claims from a file and apps' from what runs.
fn report(shortfalls: Vec<Shortfall>, exit_code: u8) -> RunReport {
    let file = ClaimSource::File {
        path: "meshproof.yaml".to_owned(),
        line: 3,
    };
    let live = ClaimSource::Live {
        object: "ConfigMap kube-system/cilium-config: enable-wireguard".to_owned(),
    };
    let facts = Facts {
        clusters: vec![cluster("infra"), cluster("apps")],
        claims: vec![claim("infra", "ipsec", file), claim("apps", "wireguard", live)],
        ..Facts::default()
    };
    let planned = PlannedTrial {
        trial: "dns::latency[infra]".into(),
        check: "dns::latency".into(),
        instance: meshproof_contract::Instance::Cluster("infra".into()),
        title: "Answers come in time".to_owned(),
        when_red: String::new(),
        control: String::new(),
    };
    let mut events = vec![
        Event::RunStarted {
            log_version: LOG_VERSION,
            run: "r".into(),
            version: "0.1.0".to_owned(),
            command: vec!["meshproof".to_owned(), "run".to_owned()],
            again: vec!["meshproof".to_owned(), "run".to_owned(), "--exact".to_owned()],
        },
        Event::FactsFound { facts: Box::new(facts) },
        Event::Planned { trials: vec![planned] },
        Event::TrialFinished {
            trial: "dns::latency[infra]".into(),
            verdict: Verdict::Pass {
                witnesses: vec![Witness {
                    what: "seen".to_owned(),
                }],
            },
            micros: 1,
            measurements: Vec::new(),
            evidence: Vec::new(),
            silent: Vec::new(),
            waiver: None,
        },
    ];
    if !shortfalls.is_empty() {
        events.push(Event::RequiredMissed { shortfalls });
    }
    events.push(Event::RunFinished { exit_code });
    let at = "2026-11-21T09:30:00Z".parse().expect("a time");
    let records: Vec<_> = events.into_iter().map(|event| EventRecord { at, event }).collect();
    RunReport::from_events(&records)
}

#[test]
fn every_format_says_whose_claims_were_taken_from_what_runs() {
    let report = report(Vec::new(), 0);
    let notice = "laims of apps come from the live configuration";
    for (format, text) in [
        ("markdown", markdown(&report)),
        ("html", html(&report)),
        ("junit", junit(&report)),
    ] {
        assert!(text.contains(notice), "{format}:\n{text}");
    }
    assert!(json(&report).contains("\"claims_from_live_configuration\": true"));
}

#[test]
fn a_claim_is_shown_as_it_is_claimed_with_its_line() {
    let report = report(Vec::new(), 0);
    assert!(junit(&report).contains("name=\"cluster.infra.claim.encryption\" value=\"ipsec (meshproof.yaml:3)\""));
    let html = html(&report);
    assert!(html.contains("ipsec") && html.contains("meshproof.yaml:3"), "{html}");
}

#[test]
fn what_had_to_run_and_did_not_is_in_every_format_and_junit_is_not_green() {
    let missed = Shortfall {
        required: "suite encryption (meshproof.yaml:12)".to_owned(),
        why: "infra: 4 skipped (not claimed: encryption)".to_owned(),
    };
    let with = report(vec![missed.clone()], 4);
    for (format, text) in [
        ("markdown", markdown(&with).replace('\\', "")),
        ("html", html(&with)),
        ("junit", junit(&with)),
        ("json", json(&with)),
    ] {
        assert!(
            text.contains(&missed.required) && text.contains(&missed.why),
            "{format}:\n{text}"
        );
    }
    assert!(junit(&with).contains("<error"), "{}", junit(&with));
    assert!(!junit(&report(Vec::new(), 0)).contains("<error"));
    // A worse exit code does not hide it.
    assert!(junit(&report(vec![missed.clone()], 1)).contains(&missed.required));
}
