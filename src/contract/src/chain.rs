//! The chain from what the operators write to what runs: Git, the Helm release, the objects, the agents. What checks
//! see at its end is known only once they have run, so reports join it.

use crate::{CheckId, ClaimSource, ClusterName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What the operators' repository says of Cilium in the clusters of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitFacts {
    /// The folder, or the files, as the user named them.
    pub from: String,
    /// Values of which the claim table knows what they mean; of no others is anything told.
    pub stated: Vec<Stated>,
    /// Clusters of which all files could be read: of these, what is not stated is the chart's default.
    pub complete: Vec<ClusterName>,
    /// Versions of Cilium that are pinned somewhere.
    pub pins: Vec<Pin>,
    /// Values that may not be shown. They are compared while the run lasts, and no log or report has them.
    #[serde(skip)]
    pub unshown: Vec<Unshown>,
}

/// A value that a file states and that may be secret: the claim table does not know it, or it is no plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unshown {
    /// The cluster.
    pub cluster: ClusterName,
    /// The keys of the value's path; keys may have dots.
    pub keys: Vec<String>,
    /// The value.
    pub value: Hidden,
    /// The file and line.
    pub source: ClaimSource,
}

/// A text that can be compared and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// One Helm value that a file states of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stated {
    /// The cluster.
    pub cluster: ClusterName,
    /// The value's path: `encryption.nodeEncryption`.
    pub claim: String,
    /// The value, as it may be shown.
    pub value: String,
    /// The file and line.
    pub source: ClaimSource,
    /// What the files together make of the keys of `cilium-config` that this value decides; a key without text is not
    /// rendered.
    #[serde(default)]
    pub config: BTreeMap<String, Option<String>>,
}

/// A pinned version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// The clusters that it is for; none means all.
    #[serde(default)]
    pub clusters: Vec<ClusterName>,
    /// The version or range as written.
    pub version: String,
    /// What pins it: `the bootstrap`, `OCIRepository cilium-charts`.
    pub by: String,
    /// The file and line.
    pub source: ClaimSource,
}

impl GitFacts {
    /// What is stated of a cluster, in the order of the files.
    pub fn of<'a>(&'a self, cluster: &'a ClusterName) -> impl Iterator<Item = &'a Stated> {
        self.stated.iter().filter(move |stated| stated.cluster == *cluster)
    }
    /// The pins that are for a cluster.
    pub fn pins_of<'a>(&'a self, cluster: &'a ClusterName) -> impl Iterator<Item = &'a Pin> {
        let concerns = |pin: &&Pin| pin.clusters.is_empty() || pin.clusters.contains(cluster);
        self.pins.iter().filter(concerns)
    }
}

/// A link of the chain, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// The operators' files.
    Git,
    /// The values of the Helm release in force.
    Helm,
    /// The objects in the cluster.
    Live,
    /// What the running agents work with.
    Agents,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LinkKind::Git => "Git",
            LinkKind::Helm => "Helm",
            LinkKind::Live => "live",
            LinkKind::Agents => "agents",
        })
    }
}

/// How a link stands to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It says the same, or is the first.
    Holds,
    /// It says something else.
    Broken,
    /// It was not read, or shows nothing of this claim.
    NotRead,
}

/// One link of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// Which.
    pub kind: LinkKind,
    /// How it stands to the one before.
    pub state: LinkState,
    /// What it says, in few words; none where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where that stands: `values.yaml:38`, `release cilium, revision 7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// The first link that breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Break {
    /// Which link does not say what the one before it says.
    pub at: LinkKind,
    /// What is wrong, in a sentence without a full stop.
    pub why: String,
    /// What closes it: a command, or a sentence where no command is known.
    pub next: String,
}

/// A claim followed along the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chain {
    /// The cluster.
    pub cluster: ClusterName,
    /// The value's path; for what no value of the table decides, the object or the key.
    pub claim: String,
    /// The links, in their order.
    pub links: Vec<Link>,
    /// Where it breaks, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Break>,
    /// The file and line that state it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ClaimSource>,
    /// The checks that verify it; none means: claimed, not verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckId>,
}

impl Chain {
    /// The link of a kind.
    pub fn link(&self, kind: LinkKind) -> Option<&Link> {
        self.links.iter().find(|link| link.kind == kind)
    }
}

impl fmt::Display for Link {
    /// `Helm true`, `live not read`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.value.as_deref();
        match self.state {
            LinkState::NotRead => write!(f, "{} {}", self.kind, said.unwrap_or("not read")),
            LinkState::Holds | LinkState::Broken => write!(f, "{} {}", self.kind, said.unwrap_or("-")),
        }
    }
}

impl fmt::Display for Chain {
    /// `infra encryption.nodeEncryption: Git true, Helm true, live false: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:", self.cluster, self.claim)?;
        for (index, link) in self.links.iter().enumerate() {
            write!(f, "{} {link}", if index == 0 { "" } else { "," })?;
        }
        match &self.broken {
            Some(broken) => write!(f, "; {}", broken.why),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_compared_and_in_no_log() {
        let (one, other) = (Hidden::new("hunter2"), Hidden::new("hunter3"));
        assert!(one == Hidden::new("hunter2") && one != other);
        let facts = GitFacts {
            unshown: vec![Unshown {
                cluster: "infra".into(),
                keys: vec!["password".to_owned()],
                value: one,
                source: ClaimSource::Live { object: "x".to_owned() },
            }],
            ..GitFacts::default()
        };
        let texts = [format!("{facts:?}"), serde_json::to_string(&facts).expect("JSON")];
        assert!(texts.iter().all(|text| !text.contains("hunter")), "{texts:?}");
    }

    #[test]
    fn a_chain_is_a_line_and_survives_json() {
        let link = |kind, state, value: Option<&str>| Link {
            kind,
            state,
            value: value.map(str::to_owned),
            place: None,
        };
        let chain = Chain {
            cluster: "infra".into(),
            claim: "encryption.nodeEncryption".to_owned(),
            links: vec![
                link(LinkKind::Git, LinkState::Holds, Some("true")),
                link(LinkKind::Helm, LinkState::NotRead, None),
                link(LinkKind::Live, LinkState::Broken, Some("false")),
            ],
            broken: Some(Break {
                at: LinkKind::Live,
                why: "changed by kubectl-edit".to_owned(),
                next: "run the bootstrap again".to_owned(),
            }),
            source: None,
            checks: Vec::new(),
        };
        assert_eq!(
            chain.to_string(),
            "infra encryption.nodeEncryption: Git true, Helm not read, live false; changed by kubectl-edit"
        );
        let json = serde_json::to_string(&chain).expect("JSON");
        assert_eq!(serde_json::from_str::<Chain>(&json).expect("reads back"), chain);
    }
}
