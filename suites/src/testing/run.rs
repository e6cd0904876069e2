//! Runs a check in the test world and returns everything that it said, as text.

use super::Fake;
use meshproof_contract::{Check, CheckContext, Instance, Verdict};
use std::sync::Arc;

impl Fake {
    /// Runs the check, panics unless it concludes `word`, and returns everything that it said.
    pub async fn expect(self, check: &dyn Check, instance: Instance, word: &str) -> String {
        let (id, trial) = (check.id(), instance.to_string());
        let (text, _) = self.run(check, instance).await;
        assert!(
            text.starts_with(&format!("{word}\n")),
            "{id} on {trial}: expected {word}, got {text}"
        );
        text
    }

    /// Runs the check; returns everything that it said, and what it created and left behind.
    pub async fn run(self, check: &dyn Check, instance: Instance) -> (String, Vec<String>) {
        let world = Arc::new(Self {
            batches: Arc::default(),
            objects: self.objects.fork(),
            ..self
        });
        let context = CheckContext::new(world.clone(), instance);
        let verdict = check.run(&context).await;
        let notes = context.take_notes();
        let mut said = vec![verdict.word().to_owned()];
        match verdict {
            Verdict::Pass { witnesses } => said.extend(witnesses.into_iter().map(|w| format!("witness: {}", w.what))),
            Verdict::Fail { findings } => said.extend(findings.into_iter().map(|f| {
                format!(
                    "finding: {} | expected {} | observed {}",
                    f.subject, f.expected, f.observed
                )
            })),
            Verdict::Inconclusive { why } | Verdict::Skipped { why } => said.push(why),
        }
        said.extend(notes.measurements.iter().map(|m| match &m.distribution {
            Some(latencies) => {
                let (p50, p99) = (latencies.p50, latencies.p99);
                format!("measured: {} {}: p50 {p50}, p99 {p99}", m.name, m.subject)
            }
            None => format!("measured: {} {}: {}", m.name, m.subject, m.value),
        }));
        said.extend(notes.evidence.iter().map(|line| format!("evidence: {line}")));
        (said.join("\n"), world.objects.created())
    }
}
