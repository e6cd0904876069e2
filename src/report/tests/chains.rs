//! The claims of a run in every format: first where people look, with file and line, and nothing that is secret.

use meshproof_contract::{
    Break, Chain, ClaimSource, Event, EventRecord, Evidence, Facts, Finding, GitFacts, Instance, Link, LinkKind,
    LinkState, Verdict, Witness, event::PlannedTrial,
};
use meshproof_report::{RunReport, html, json, junit, markdown, sarif};

fn link(kind: LinkKind, state: LinkState, value: &str) -> Link {
    Link {
        kind,
        state,
        value: Some(value.to_owned()),
        place: None,
    }
}

fn chain(claim: &str, live: &str, broken: bool) -> Chain {
    let state = if broken { LinkState::Broken } else { LinkState::Holds };
    Chain {
        cluster: "infra".into(),
        claim: claim.to_owned(),
        links: vec![
            link(LinkKind::Git, LinkState::Holds, "true"),
            link(LinkKind::Helm, LinkState::Holds, "true"),
            link(LinkKind::Live, state, live),
        ],
        broken: broken.then(|| Break {
            at: LinkKind::Live,
            why: "somebody edited it".to_owned(),
            next: "run the bootstrap again".to_owned(),
        }),
        source: Some(ClaimSource::File {
            path: "clusters/infra/my values.yaml".to_owned(),
            line: 38,
        }),
        checks: vec!["encryption::mode_in_force".into()],
    }
}

fn planned(check: &str) -> PlannedTrial {
    PlannedTrial {
        trial: format!("{check}[infra]").as_str().into(),
        check: check.into(),
        instance: Instance::Cluster("infra".into()),
        title: "A title".to_owned(),
        when_red: String::new(),
        control: String::new(),
    }
}

fn finished(check: &str, verdict: Verdict, evidence: Vec<Evidence>) -> Event {
    Event::TrialFinished {
        trial: format!("{check}[infra]").as_str().into(),
        verdict,
        micros: 1,
        measurements: Vec::new(),
        evidence,
        silent: Vec::new(),
        waiver: None,
    }
}

fn report(git: Option<GitFacts>) -> RunReport {
    let facts = Facts {
        git,
        ..Facts::default()
    };
    let finding = Finding {
        subject: "infra encryption.nodeEncryption (clusters/infra/my values.yaml:38)".to_owned(),
        expected: "`true`".to_owned(),
        observed: "live: somebody edited it".to_owned(),
    };
    let witness = Witness {
        what: "seen".to_owned(),
    };
    let chains = vec![
        Evidence::Chain(chain("kubeProxyReplacement", "true", false)),
        Evidence::Chain(chain("encryption.nodeEncryption", "false", true)),
    ];
    let events = [
        Event::FactsFound { facts: Box::new(facts) },
        Event::Planned {
            trials: ["encryption::mode_in_force", "gitops::claims"].map(planned).into(),
        },
        finished(
            "encryption::mode_in_force",
            Verdict::Pass {
                witnesses: vec![witness],
            },
            Vec::new(),
        ),
        finished(
            "gitops::claims",
            Verdict::Fail {
                findings: vec![finding],
            },
            chains,
        ),
        Event::RunFinished { exit_code: 1 },
    ];
    let at = "2026-12-01T09:30:00Z".parse().expect("a time");
    let records: Vec<_> = events.into_iter().map(|event| EventRecord { at, event }).collect();
    RunReport::from_events(&records)
}

#[test]
fn the_claims_come_first_broken_ones_before_others() {
    let report = report(Some(GitFacts::default()));
    let claims: Vec<_> = report.claims.iter().map(|claim| claim.chain.claim.as_str()).collect();
    assert_eq!(claims, ["encryption.nodeEncryption", "kubeProxyReplacement"]);
    assert_eq!(report.claims[0].seen.to_string(), "1 passed");
    let markdown = markdown(&report).replace('\\', "");
    let at = |text: &str| {
        markdown
            .find(text)
            .unwrap_or_else(|| panic!("missing {text}:\n{markdown}"))
    };
    assert!(
        at("| claim | Git | Helm | live | agents | seen |") < at("| suite |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| infra encryption.nodeEncryption | true | true | **false** | - | 1 passed |"),
        "{markdown}"
    );
    let html = html(&report);
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("missing {text}:\n{html}"));
    assert!(at("<h2>Claims in force") < at("<h2>Failed checks"), "{html}");
    assert!(
        html.contains("somebody edited it") && html.contains("my values.yaml:38"),
        "{html}"
    );
    assert!(json(&report).contains("\"claims\": ["));
    assert!(junit(&report).contains("claim: clusters/infra/my values.yaml:38: infra encryption.nodeEncryption"));
}

#[test]
fn broken_claims_are_in_sarif_at_their_lines_where_files_were_given() {
    let text = sarif(&report(Some(GitFacts::default()))).expect("files were given");
    let sarif: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 1);
    let location = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "clusters/infra/my%20values.yaml");
    assert_eq!(location["region"]["startLine"], 38);
    assert_eq!(meshproof_report::sarif(&report(None)), None);
}
