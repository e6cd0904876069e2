//! Rules of the house: what others have put into a cluster that decides what the probes may do there.

use crate::{CheckId, ClusterName, Facts, Instance, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The suites that test policies: of their own, and of the house. The run's allow policies do not open their pods.
const TEST_POLICIES: [&str; 2] = ["flows", "policy"];

/// A policy or a setting of others that acts on probe pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HouseRule {
    /// The cluster.
    pub cluster: ClusterName,
    /// What it is, for people: `CiliumClusterwideNetworkPolicy baseline`.
    pub name: String,
    /// What it does to probes, as the rest of a sentence that begins with its name.
    pub effect: String,
    /// Which probes it acts on.
    pub bars: Barred,
    /// The policy; none for a setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
}

/// Which probes a rule of the house keeps from what they try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Barred {
    /// Any: the run's own allow policies cannot open what it closes.
    Probes,
    /// Only pods that the run's allow policies leave to the policies under test.
    Subjects,
}

impl HouseRule {
    /// One sentence without a full stop, the same for every check.
    pub fn statement(&self) -> String {
        format!("{} in {} {}", self.name, self.cluster, self.effect)
    }
}

impl Facts {
    /// The rules of the house that act on such probes in a cluster.
    pub fn house_rules<'a>(&'a self, cluster: &'a ClusterName, bars: Barred) -> impl Iterator<Item = &'a HouseRule> {
        let rules = self.house.iter();
        rules.filter(move |rule| &rule.cluster == cluster && rule.bars == bars)
    }

    /// What a check that observed a deviation concludes where a rule of the house denies what its probes try: one
    /// statement that names the rule, since the network cannot be told from it.
    pub fn excuse(&self, check: &CheckId, instance: &Instance) -> Option<Verdict> {
        if TEST_POLICIES.contains(&check.suite()) {
            return None;
        }
        let mut ends = [instance.from(), instance.to()].into_iter();
        let rule = ends.find_map(|cluster| self.house_rules(cluster, Barred::Probes).next())?;
        Some(Verdict::inconclusive(rule.statement()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rule_that_bars_probes_of_an_end_excuses_and_no_policy_check() {
        let rule = |cluster: &str, bars| HouseRule {
            cluster: cluster.into(),
            name: "CiliumClusterwideNetworkPolicy no-8080".to_owned(),
            effect: "denies traffic of the probes".to_owned(),
            bars,
            object: None,
        };
        let facts = |rule: HouseRule| Facts {
            house: vec![rule],
            ..Facts::default()
        };
        let reach = CheckId::from("connectivity::http_same_node");
        let instance = Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        };
        let excuse = facts(rule("apps", Barred::Probes)).excuse(&reach, &instance);
        assert_eq!(
            excuse,
            Some(Verdict::inconclusive(
                "CiliumClusterwideNetworkPolicy no-8080 in apps denies traffic of the probes"
            ))
        );
        let policy = CheckId::from("policy::cidr");
        assert_eq!(facts(rule("apps", Barred::Probes)).excuse(&policy, &instance), None);
        assert_eq!(facts(rule("apps", Barred::Subjects)).excuse(&reach, &instance), None);
        let alone = Instance::Cluster("infra".into());
        assert_eq!(facts(rule("apps", Barred::Probes)).excuse(&reach, &alone), None);
    }
}
