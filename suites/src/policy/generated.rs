//! Generated policies, compared cell by cell with the expectation: what no fixed case thought of.

use super::actor::SCENARIO;
use super::cases::both_ways;
use super::generate::{Draw, Sketch};
use super::play::{expectations, play};
use super::scene::Scene;
use super::ward::GROUPS;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Scope, Tally, Verdict};
use meshproof_oracle::Expected;
use std::time::Duration;
use tokio::time::Instant;

/// Policies drawn at random.
pub struct Generated;

/// Policies played again to find a simpler one that still deviates: each may take the whole time of a wait.
const SHRINKS: u32 = 6;
/// After so long the smallest so far has to do.
const SHRUNK_WITHIN: Duration = Duration::from_secs(60);

#[async_trait]
impl Check for Generated {
    fn id(&self) -> CheckId {
        CheckId::from("policy::generated")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Policies drawn at random are enforced as computed, cell by cell",
            proves: "Combinations of rules that nobody wrote a case for (kinds, directions, allow and deny, peers, ports) mean on the clusters what the documentation says.",
            how: "From a seed, small policies are drawn (`--generate N --seed S`; three from seed 1 unless given), each measured like a fixed case: before, under and after. One that deviates is shrunk to the least that still does.",
            control: "Each cell must be open before the policy and after it; a policy that would close nothing is not counted.",
            when_red: "The finding holds the smallest deviating policy and the seed: `meshproof run --suite policy --generate N --seed S` draws it again; `cilium-dbg policy get` on the node named shows how the agent read it.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: Some(ClaimKind::Policy),
            mutates: true,
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["policy-ingress-ignored", "policy-default-deny-missing"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let scene = match Scene::set(context, &GROUPS).await {
            Ok(scene) => scene,
            Err(verdict) => return verdict,
        };
        let asked = context.environment.facts().generation;
        let mut draw = Draw::new(asked.seed);
        let mut tally = Tally::new();
        let (mut played, mut drawn) = (0, 0);
        // Some of those drawn close nothing, and prove nothing.
        while played < asked.count && drawn < 20 * asked.count.max(1) {
            let sketch = Sketch::draw(&mut draw);
            drawn += 1;
            if closes_something(context, &scene, &sketch) {
                played += 1;
                compare(context, &scene, &sketch, drawn, &mut tally).await;
                if tally.has_findings() {
                    break;
                }
            }
        }
        context.note(format!(
            "seed {}: {played} of {drawn} policies drawn were played",
            asked.seed
        ));
        tally.verdict()
    }
}

fn closes_something(context: &CheckContext, scene: &Scene, sketch: &Sketch) -> bool {
    let cells = both_ways(scene, &scene.neighbours(&context.instance));
    let policy = crate::kit::object::policy::named(sketch.object(scene), &scene.namespace);
    expectations(scene, &[policy], cells)
        .is_ok_and(|rows| rows.iter().any(|row| row.decision.expected != Expected::Allowed))
}

/// Plays one; where it deviates, the simplest that does is what is told.
async fn compare(context: &CheckContext, scene: &Scene, sketch: &Sketch, number: u32, tally: &mut Tally) {
    let seed = context.environment.facts().generation.seed;
    let name = format!("policy {number} of seed {seed}");
    let mut found = attempt(context, scene, sketch, &name).await;
    let mut smallest = sketch.clone();
    let mut left = if found.has_findings() { SHRINKS } else { 0 };
    let begun = Instant::now();
    'shrinking: while left > 0 {
        for simpler in smallest.simpler() {
            if left == 0 || begun.elapsed() >= SHRUNK_WITHIN {
                break 'shrinking;
            }
            if !closes_something(context, scene, &simpler) {
                continue;
            }
            left -= 1;
            let tried = attempt(context, scene, &simpler, &format!("{name}, shrunk")).await;
            if tried.has_findings() {
                (found, smallest) = (tried, simpler);
                continue 'shrinking;
            }
        }
        break;
    }
    match found.verdict() {
        Verdict::Pass { witnesses } => witnesses.into_iter().for_each(|w| tally.witness(w.what)),
        Verdict::Fail { findings } => {
            let text = smallest.object(scene).to_string();
            for finding in findings {
                tally.finding(
                    finding.subject,
                    finding.expected,
                    format!("{}; policy: {text}", finding.observed),
                );
            }
        }
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => tally.unknown(why),
    }
}

async fn attempt(context: &CheckContext, scene: &Scene, sketch: &Sketch, name: &str) -> Tally {
    let mut tally = Tally::new();
    let cells = both_ways(scene, &scene.neighbours(&context.instance));
    play(context, scene, name, vec![sketch.object(scene)], cells, &mut tally).await;
    tally
}
