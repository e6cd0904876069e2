//! What installs Cilium in each cluster of a repository: the values as Helm gets them, and `cilium-config` as the chart
//! makes it of them. For whoever installs; it holds whatever the files hold, secrets too.

use crate::{layout::Cluster, repository::Repository};
use serde_json::Value;
use std::collections::BTreeMap;

/// The values of one cluster.
#[derive(Clone, PartialEq)]
pub struct Installation {
    /// The cluster's role.
    pub cluster: String,
    /// The merged values.
    pub values: Value,
    /// The keys of `cilium-config` that can be predicted; one without text is not rendered.
    pub config: BTreeMap<String, Option<String>>,
    /// Whether every file was read.
    pub is_complete: bool,
}

impl std::fmt::Debug for Installation {
    /// Without values, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Installation");
        shown
            .field("cluster", &self.cluster)
            .field("is_complete", &self.is_complete)
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// The installations that it describes.
    pub fn installations(&self) -> Vec<Installation> {
        self.layout
            .clusters
            .iter()
            .filter_map(|cluster| self.installation(cluster))
            .collect()
    }

    fn installation(&self, cluster: &Cluster) -> Option<Installation> {
        let (set, values) = (cluster.set()?, cluster.values(&self.tables.chart)?);
        let prediction = &self.tables.prediction;
        Some(Installation {
            cluster: cluster.role.clone(),
            values: set.values.json(),
            config: prediction
                .keys()
                .filter_map(|key| prediction.entry(key, &values))
                .collect(),
            is_complete: set.is_complete,
        })
    }
}
