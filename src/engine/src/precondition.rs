//! What must be present before a check may judge: its claim, and its scenario's agents.

use meshproof_contract::{ClusterName, Facts, Instance, Needs, Verdict};

/// The verdict of a trial whose needs are not met; none when it can run.
///
/// A check between two clusters applies when either of them makes the claim: a claim that only one side makes is
/// exactly what it must verify.
pub(crate) fn unmet(needs: Needs, instance: &Instance, facts: &Facts) -> Option<Verdict> {
    let mut ends = vec![instance.from()];
    if instance.to() != instance.from() {
        ends.push(instance.to());
    }
    if let Some(why) = unclaimed(needs, instance, facts) {
        return Some(Verdict::skipped(why));
    }
    let scenario = needs.scenario?;
    let absent = ends.into_iter().find(|cluster| !has_agents(facts, scenario, cluster))?;
    Some(Verdict::inconclusive(match states(facts, absent) {
        Some(states) => format!("scenario {scenario} is not deployed in {absent}: {states}"),
        None => format!("scenario {scenario} is not deployed in {absent}: none of its agents is ready there"),
    }))
}

/// Why a trial is skipped for want of a claim; none when it is not. Needs no agents, so that it is known before a run.
pub fn unclaimed(needs: Needs, instance: &Instance, facts: &Facts) -> Option<String> {
    let ends = [instance.from(), instance.to()];
    let kind = needs.claim?;
    if ends.iter().any(|cluster| facts.claim(cluster, kind).is_some()) {
        return None;
    }
    let denied = ends.iter().find_map(|cluster| facts.statement(cluster, kind));
    let denial = denied.map_or(String::new(), |claim| {
        format!(" ({} says {})", claim.source, claim.value)
    });
    Some(format!("not claimed: {kind}{denial}"))
}

fn has_agents(facts: &Facts, scenario: &str, cluster: &ClusterName) -> bool {
    facts
        .agents
        .iter()
        .any(|agent| agent.scenario == scenario && &agent.id.cluster == cluster)
}

fn states(facts: &Facts, cluster: &ClusterName) -> Option<String> {
    let mut missing = facts.missing_agents.iter().filter(|agent| &agent.cluster == cluster);
    let first = missing.next()?;
    let more = match missing.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some(format!("{}: {}{more}", first.workload, first.state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{agent, claim};
    use meshproof_contract::{ClaimKind, ClaimSource, facts::MissingAgent};

    const NEEDS: Needs = Needs {
        scenario: Some("connectivity"),
        claim: Some(ClaimKind::ClusterMesh),
        admission: meshproof_contract::Admission::Shared,
        mutates: false,
    };

    fn direction() -> Instance {
        Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        }
    }

    #[test]
    fn unclaimed_is_skipped_and_a_claim_of_one_end_is_enough() {
        let mut facts = Facts {
            agents: vec![agent("infra"), agent("apps")],
            ..Facts::default()
        };
        assert_eq!(
            unmet(NEEDS, &direction(), &facts),
            Some(Verdict::skipped("not claimed: cluster-mesh"))
        );
        facts.claims = vec![claim("apps", ClaimKind::ClusterMesh)];
        assert_eq!(unmet(NEEDS, &direction(), &facts), None);
        assert_eq!(
            unmet(NEEDS, &Instance::Cluster("infra".into()), &facts),
            Some(Verdict::skipped("not claimed: cluster-mesh"))
        );
    }

    #[test]
    fn what_is_denied_is_not_claimed_and_the_reason_says_where() {
        let mut facts = Facts {
            agents: vec![agent("infra"), agent("apps")],
            claims: vec![claim("apps", ClaimKind::ClusterMesh)],
            ..Facts::default()
        };
        facts.claims[0].value = "false".to_owned();
        facts.claims[0].source = ClaimSource::File {
            path: "meshproof.yaml".to_owned(),
            line: 7,
        };
        assert_eq!(
            unmet(NEEDS, &direction(), &facts),
            Some(Verdict::skipped(
                "not claimed: cluster-mesh (meshproof.yaml:7 says false)"
            ))
        );
    }

    #[test]
    fn a_scenario_that_is_away_is_inconclusive_with_the_last_state() {
        let facts = Facts {
            agents: vec![agent("infra")],
            claims: vec![claim("infra", ClaimKind::ClusterMesh)],
            missing_agents: vec![MissingAgent {
                cluster: "apps".into(),
                node: None,
                workload: "client".into(),
                state: "ImagePullBackOff".into(),
            }],
            ..Facts::default()
        };
        assert_eq!(
            unmet(NEEDS, &direction(), &facts),
            Some(Verdict::inconclusive(
                "scenario connectivity is not deployed in apps: client: ImagePullBackOff"
            ))
        );
        assert_eq!(unmet(Needs::default(), &direction(), &Facts::default()), None);
    }
}
