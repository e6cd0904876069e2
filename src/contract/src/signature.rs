//! Signatures of known faults: which checks each turned red where it was injected on purpose. `meshproof prove` writes
//! them, and what it last wrote is built in.

use crate::CheckId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// Signatures of faults: the content of `docs/prove.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signatures {
    /// One for each time that a fault was injected.
    pub rows: Vec<Signature>,
}

/// What one fault did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// The fault, with its size if it has one: `loss-mesh@3`.
    pub fault: String,
    /// The same without its size: rows of the same are one fault at other places or of other sizes.
    pub of: String,
    /// The configuration of Cilium in which it was injected.
    pub profile: String,
    /// What was wrong, in one line.
    pub what: String,
    /// Checks that turned red, each with the clusters or directions in which it did; none where that is not known.
    pub red: BTreeMap<CheckId, BTreeSet<String>>,
    /// Checks that were inconclusive.
    pub unsure: BTreeSet<CheckId>,
    /// Checks that ran and passed.
    pub green: BTreeSet<CheckId>,
    /// The kind of place that its red checks had in common, as in `report.json`: `pair`, `way`, `node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

static KNOWN: LazyLock<Signatures> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/prove.json")).unwrap_or_default());

impl Signatures {
    /// Those that are built in.
    pub fn known() -> &'static Self {
        &KNOWN
    }

    /// As JSON with a row a line, so that a difference shows the faults that it is about.
    ///
    /// # Errors
    /// Never for what can be read back; serde's own.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let rows: Result<Vec<String>, _> = self.rows.iter().map(serde_json::to_string).collect();
        Ok(format!("{{\"rows\":[\n{}\n]}}\n", rows?.join(",\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_can_be_read_and_is_as_it_would_be_written() {
        let text = include_str!("../../../docs/prove.json");
        let read: Signatures = serde_json::from_str(text).expect("docs/prove.json is as prove writes it");
        assert!(
            read.rows.len() > 100 && *Signatures::known() == read,
            "{}",
            read.rows.len()
        );
        assert_eq!(read.to_json().expect("JSON"), text);
    }
}
