//! Random policies, compared cell by cell with the expectation: combinations of rules that no fixed case has.

use super::{
    cases::both_ways,
    fixture::Fixture,
    participant::SCENARIO,
    random_policy::{RandomNumbers, RandomPolicy},
    run_case::{LOOKS, PreparedCase, expectations, run_case},
    subjects::GROUPS,
};
use crate::kit::object::policy as object;
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Scope, Tally, Verdict, facts::Generation,
};
use meshproof_oracle::Expected;
use std::time::Duration;
use tokio::time::Instant;

/// Random policies.
pub struct Generated;

/// Simpler policies that are tested at most after a deviation: each may take the whole time of a wait.
const SIMPLIFICATIONS: u32 = 6;
/// No simplification begins later than this.
const SIMPLIFIED_WITHIN: Duration = Duration::from_secs(60);
/// Policies made at most for each one that is tested: some deny nothing and prove nothing.
const MADE_PER_TESTED: u32 = 20;

#[async_trait]
impl Check for Generated {
    fn id(&self) -> CheckId {
        CheckId::from("policy::generated")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Random policies are enforced as computed, cell by cell",
            proves: "Combinations of rules that no fixed case has (kinds, directions, allow and deny, peers, ports) \
                     mean on the clusters what the documentation says.",
            how: "Small policies are made from a seed (`--generate N --seed S`; 3 policies, seeded by the day, by \
                  default). Each is tested like a fixed case: before, while in force, and after its deletion. A policy \
                  that deviates is simplified until only what deviates is left.",
            control: "Each cell must be open before the policy and after its deletion. A policy that denies nothing \
                      does not count.",
            when_red: "The finding shows the smallest deviating policy and the seed: `meshproof run --suite policy \
                       --generate N --seed S` makes it again. `kubectl --context CONTEXT -n kube-system exec \
                       AGENT_POD -c cilium-agent -- cilium-dbg policy get` on the node in the finding shows how the \
                       agent read it.",
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
        let Generation { count, seed, .. } = context.environment.facts().generation;
        let wanted = usize::try_from(count).unwrap_or(GROUPS.len());
        let mut fixtures = match Fixture::several(context, wanted).await {
            Ok(fixtures) => fixtures,
            Err(verdict) => return verdict,
        };
        let mut numbers = RandomNumbers::from_seed(seed);
        let mut tally = Tally::new();
        let (mut chosen, mut made, mut tested) = (Vec::new(), 0, 0);
        while (chosen.len() as u64) < u64::from(count) && made < MADE_PER_TESTED * count.max(1) {
            let policy = RandomPolicy::next(&mut numbers);
            made += 1;
            if denies_something(context, &fixtures[0], &policy) {
                chosen.push((policy, format!("policy {made} of seed {seed}")));
            }
        }
        for policies in chosen.chunks(fixtures.len()) {
            // Those that have no policy left return their pods.
            fixtures.truncate(policies.len());
            let attempts = policies.iter().zip(&fixtures);
            let attempts = attempts.map(|((policy, name), fixture)| attempt(context, fixture, policy, name));
            let found = join_all(attempts).await;
            tested += found.len();
            let deviating = found.iter().position(Tally::has_findings);
            for (index, found) in found.into_iter().enumerate() {
                if Some(index) != deviating {
                    tally.absorb(found);
                    continue;
                }
                let (policy, name) = &policies[index];
                let fixture = fixtures.swap_remove(index);
                fixtures.clear();
                simplify(context, &fixture, (policy, name), found, &mut tally).await;
            }
            if deviating.is_some() {
                break;
            }
        }
        context.note(format!(
            "seed {seed}: {} of {made} generated policies deny something, and {tested} were tested",
            chosen.len()
        ));
        tally.verdict()
    }
}

fn denies_something(context: &CheckContext, fixture: &Fixture, policy: &RandomPolicy) -> bool {
    let cells = both_ways(fixture, &fixture.peers_of(&context.instance));
    let object = object::named(policy.object(fixture), &fixture.namespace);
    expectations(fixture, &[object], cells)
        .is_ok_and(|cells| cells.iter().any(|judged| judged.decision.expected != Expected::Allowed))
}

/// Reports the simplest policy that deviates as this one does.
async fn simplify(
    context: &CheckContext,
    fixture: &Fixture,
    (policy, name): (&RandomPolicy, &str),
    mut found: Tally,
    tally: &mut Tally,
) {
    let mut smallest = policy.clone();
    let mut left = SIMPLIFICATIONS;
    let begun = Instant::now();
    'simplifying: while left > 0 {
        for simpler in smallest.simpler() {
            if left == 0 || begun.elapsed() >= SIMPLIFIED_WITHIN {
                break 'simplifying;
            }
            if !denies_something(context, fixture, &simpler) {
                continue;
            }
            left -= 1;
            let attempted = attempt(context, fixture, &simpler, &format!("{name}, simplified")).await;
            if attempted.has_findings() {
                (found, smallest) = (attempted, simpler);
                continue 'simplifying;
            }
        }
        break;
    }
    match found.verdict() {
        Verdict::Pass { witnesses } => witnesses.into_iter().for_each(|w| tally.witness(w.what)),
        Verdict::Fail { findings } => {
            let object = smallest.object(fixture);
            for finding in findings {
                let observed = format!("{}; policy: {object}", finding.observed);
                tally.finding(finding.subject, finding.expected, observed);
            }
        }
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => tally.unknown(why),
    }
}

async fn attempt(context: &CheckContext, fixture: &Fixture, policy: &RandomPolicy, name: &str) -> Tally {
    let mut tally = Tally::new();
    let case = PreparedCase {
        name,
        policies: vec![policy.object(fixture)],
        cells: both_ways(fixture, &fixture.peers_of(&context.instance)),
        looks: LOOKS,
    };
    run_case(context, fixture, case, &mut tally).await;
    tally
}
