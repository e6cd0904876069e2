//! The links of one claim: what each says, and whether it says the same as the one before.

use super::reading::Reading;
use meshproof_claims::agent::{self, Question};
use meshproof_contract::{Link, LinkKind, LinkState, NodeName};
use serde_json::Value;
use std::collections::BTreeMap;

/// A link of a kind with what it says and where.
pub fn link(kind: LinkKind, state: LinkState, value: impl Into<String>, place: Option<String>) -> Link {
    Link {
        kind,
        state,
        value: Some(value.into()),
        place,
    }
}

/// A link that was not read.
pub fn not_read(kind: LinkKind) -> Link {
    Link {
        kind,
        state: LinkState::NotRead,
        value: None,
        place: None,
    }
}

/// An agent that shows something else than its ConfigMap has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// Its node.
    pub node: NodeName,
    /// The key of `cilium-config`.
    pub key: String,
    /// What it shows.
    pub shown: String,
    /// Where: the command and the field.
    pub place: String,
}

/// What the agents show of some keys.
#[derive(Debug, Default)]
pub struct Agents {
    /// Nodes whose agents were compared.
    pub compared: Vec<NodeName>,
    /// Those that differ.
    pub odd: Vec<Odd>,
    /// What they show of the first key that they show, for people.
    pub shown: Option<String>,
}

/// Compares what every agent shows of these keys with the text in `cilium-config`.
pub fn agents(reading: &Reading, config: &BTreeMap<String, String>, keys: &[String]) -> Agents {
    let mut agents = Agents::default();
    // What is configured says more than what is left out.
    let (set, unset): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| config.contains_key(*key));
    let keys = [set, unset].concat();
    for (node, answers) in &reading.answers {
        for (key, place) in keys
            .iter()
            .copied()
            .flat_map(|key| agent::of_key(key).map(move |place| (key, place)))
        {
            let Some(shown) = answer(answers, place.question).and_then(|answer| place.read(answer)) else {
                continue;
            };
            let Some(agrees) = place.agrees(config.get(key).map(String::as_str), &shown) else {
                continue;
            };
            if !agents.compared.contains(node) {
                agents.compared.push(node.clone());
            }
            let is_known = agents.odd.iter().any(|odd| odd.node == *node && odd.key == *key);
            if !agrees && !is_known {
                agents.odd.push(Odd {
                    node: node.clone(),
                    key: key.clone(),
                    shown,
                    place: format!("`{}`, {}", place.question.command(), place.field),
                });
            } else {
                agents.shown.get_or_insert(shown);
            }
        }
    }
    agents
}

fn answer(answers: &[(Question, Result<Value, String>)], question: Question) -> Option<&Value> {
    let (_, answer) = answers.iter().find(|(asked, _)| *asked == question)?;
    answer.as_ref().ok()
}

/// The CiliumNodeConfig that sets a key; whether it selects the node is for the reader to see.
pub fn node_config<'a>(reading: &'a Reading, key: &str) -> Option<&'a str> {
    let sets = |config: &&Value| config["spec"]["defaults"].get(key).is_some();
    reading.node_configs.iter().find(sets)?["metadata"]["name"].as_str()
}
