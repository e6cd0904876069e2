//! What kept checks from observing, as data: one cause is told once, whatever the number of checks that it concerns.

use crate::{ClusterName, Instance, NodeName};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What did not answer while a trial ran. The engine records it where the trial asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "silent", rename_all = "snake_case")]
pub enum Silent {
    /// A probe agent of this run.
    Probe {
        /// Its cluster.
        cluster: ClusterName,
        /// Its node; none when the run did not know the pod at its start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeName>,
        /// Its pod.
        pod: String,
    },
    /// A pod of Cilium.
    Cilium {
        /// Its cluster.
        cluster: ClusterName,
        /// Its node.
        node: NodeName,
        /// Its pod.
        pod: String,
    },
    /// The API server.
    Api {
        /// Its cluster.
        cluster: ClusterName,
    },
}

impl Silent {
    /// Its cluster.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Silent::Probe { cluster, .. } | Silent::Cilium { cluster, .. } | Silent::Api { cluster } => cluster,
        }
    }
    /// Its node, where it has one.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Silent::Probe { node, .. } => node.as_ref(),
            Silent::Cilium { node, .. } => Some(node),
            Silent::Api { .. } => None,
        }
    }
}

/// What a watch of a cluster saw change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ClusterChange {
    /// A node is not Ready; also at the start of the watch.
    NodeNotReady {
        /// Which.
        node: NodeName,
        /// The transition time of its condition Ready; none when the node has no such condition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        since: Option<Timestamp>,
    },
    /// A node that was not Ready is Ready again.
    NodeReady {
        /// Which.
        node: NodeName,
    },
    /// A node was added.
    NodeCame {
        /// Which.
        node: NodeName,
    },
    /// A node was removed.
    NodeWent {
        /// Which.
        node: NodeName,
    },
    /// The API server does not answer.
    ApiAway {
        /// The last error.
        reason: String,
    },
    /// The API server answers again.
    ApiBack,
}

/// Trouble of a cluster that lasts or lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// What.
    pub kind: TroubleKind,
    /// Where.
    pub cluster: ClusterName,
    /// Since when; none when that is not known.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// Until when; none when it lasts.
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "trouble", rename_all = "snake_case")]
pub enum TroubleKind {
    /// A node is not Ready.
    NodeNotReady {
        /// Which.
        node: NodeName,
    },
    /// A node was added during the run.
    NodeCame {
        /// Which.
        node: NodeName,
    },
    /// A node was removed during the run.
    NodeWent {
        /// Which.
        node: NodeName,
    },
    /// The API server does not answer.
    ApiAway,
    /// A pod does not answer, though its node is Ready as far as is known.
    PodSilent {
        /// Its node.
        node: Option<NodeName>,
        /// The pod.
        pod: String,
        /// Whose it is.
        owner: PodOwner,
    },
}

/// Whose pod it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PodOwner {
    /// Cilium's.
    Cilium,
    /// This run's.
    Run,
}

impl Trouble {
    /// Whether this silence comes from it.
    pub fn explains(&self, silent: &Silent) -> bool {
        if silent.cluster() != &self.cluster {
            return false;
        }
        match &self.kind {
            TroubleKind::ApiAway => matches!(silent, Silent::Api { .. }),
            TroubleKind::NodeNotReady { node } | TroubleKind::NodeWent { node } | TroubleKind::NodeCame { node } => {
                silent.node() == Some(node)
            }
            TroubleKind::PodSilent { pod, .. } => match silent {
                Silent::Probe { pod: other, .. } | Silent::Cilium { pod: other, .. } => other == pod,
                Silent::Api { .. } => false,
            },
        }
    }
    /// Whether it concerns an end of the instance and lasted in this time.
    pub fn overlaps(&self, instance: &Instance, from: Timestamp, to: Timestamp) -> bool {
        let here = instance.from() == &self.cluster || instance.to() == &self.cluster;
        here && self.since.is_none_or(|since| since <= to) && self.until.is_none_or(|until| from <= until)
    }
}

impl fmt::Display for Trouble {
    /// `node apps/apps-2 has not been Ready since 14:18:31 UTC`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = &self.cluster;
        let clock = |at: Timestamp| at.strftime("%H:%M:%S UTC").to_string();
        let at = |since: Option<Timestamp>| since.map_or(String::new(), |at| format!(" at {}", clock(at)));
        let lasts =
            |f: &mut fmt::Formatter<'_>, what: String, has: &str, was: &str, is: &str| match (self.since, self.until) {
                (Some(since), None) => write!(f, "{what} {has} since {}", clock(since)),
                (Some(since), Some(until)) => write!(f, "{what} {was} from {} to {}", clock(since), clock(until)),
                (None, Some(until)) => write!(f, "{what} {was} until {}", clock(until)),
                (None, None) => write!(f, "{what} {is}"),
            };
        match &self.kind {
            TroubleKind::NodeNotReady { node } => lasts(
                f,
                format!("node {node} of {cluster}"),
                "has not been Ready",
                "was not Ready",
                "is not Ready",
            ),
            TroubleKind::ApiAway => lasts(
                f,
                format!("the API server of {cluster}"),
                "has not answered",
                "did not answer",
                "does not answer",
            ),
            TroubleKind::NodeCame { node } => {
                write!(f, "node {node} of {cluster} was added during the run{}", at(self.since))
            }
            TroubleKind::NodeWent { node } => {
                write!(
                    f,
                    "node {node} of {cluster} was removed during the run{}",
                    at(self.since)
                )
            }
            TroubleKind::PodSilent { node, pod, owner } => {
                let whose = match owner {
                    PodOwner::Cilium => "Cilium pod",
                    PodOwner::Run => "probe agent",
                };
                write!(f, "{whose} {pod} of {cluster}")?;
                if let Some(node) = node {
                    write!(f, " on node {node}")?;
                }
                f.write_str(" does not answer")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn not_ready(since: Option<i64>, until: Option<i64>) -> Trouble {
        Trouble {
            kind: TroubleKind::NodeNotReady { node: "apps-2".into() },
            cluster: "apps".into(),
            since: since.map(at),
            until: until.map(at),
        }
    }

    #[test]
    fn it_is_told_with_its_times() {
        for (trouble, text) in [
            (
                not_ready(Some(11), None),
                "node apps-2 of apps has not been Ready since 00:00:11 UTC",
            ),
            (
                not_ready(Some(11), Some(71)),
                "node apps-2 of apps was not Ready from 00:00:11 UTC to 00:01:11 UTC",
            ),
            (not_ready(None, None), "node apps-2 of apps is not Ready"),
        ] {
            assert_eq!(trouble.to_string(), text);
        }
    }

    #[test]
    fn it_explains_the_pods_of_its_node_only() {
        let trouble = not_ready(Some(11), None);
        let probe = |cluster: &str, node: &str| Silent::Probe {
            cluster: cluster.into(),
            node: Some(node.into()),
            pod: "client-1".to_owned(),
        };
        assert!(trouble.explains(&probe("apps", "apps-2")));
        assert!(!trouble.explains(&probe("apps", "apps-1")));
        assert!(!trouble.explains(&probe("infra", "apps-2")));
        assert!(!trouble.explains(&Silent::Api { cluster: "apps".into() }));
    }

    #[test]
    fn it_concerns_what_ran_meanwhile_in_its_cluster() {
        let trouble = not_ready(Some(10), Some(20));
        let apps = Instance::Cluster("apps".into());
        let direction = Instance::Direction {
            from: "infra".into(),
            to: "apps".into(),
        };
        assert!(trouble.overlaps(&apps, at(5), at(10)) && trouble.overlaps(&direction, at(20), at(30)));
        assert!(!trouble.overlaps(&apps, at(5), at(9)) && !trouble.overlaps(&apps, at(21), at(30)));
        assert!(!trouble.overlaps(&Instance::Cluster("infra".into()), at(5), at(30)));
    }
}
