//! What installs Cilium in each cluster of a repository: the values as Helm gets them, and `cilium-config` as the chart
//! makes it of them. For whoever installs; it holds whatever the files hold, secrets too.

use crate::{
    chart::Chart,
    check::{Request, named},
    finding::Findings,
    layout::Layout,
    prediction::{Predicted, Prediction},
    sources::{Sources, SourcesError},
};
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

/// The installations that a repository, or the files that the user names, describe.
///
/// # Errors
/// The folder, or a file that the user names, cannot be read.
pub fn installations(request: &Request, is_repository: bool) -> Result<Vec<Installation>, SourcesError> {
    let (chart, prediction) = (Chart::new(), Prediction::new());
    let mut sources = Sources::of(&request.root, is_repository)?;
    let named = named(&mut sources, &request.values)?;
    let layout = Layout::of(&mut sources, &chart, &named, &mut Findings::default());
    let of_cluster = |cluster: &crate::layout::Cluster| {
        let (set, values) = (cluster.set()?, cluster.values(&chart)?);
        let config = prediction
            .keys()
            .filter_map(|key| match prediction.predict(key, &values) {
                Predicted::Is(text) => Some((key.to_owned(), Some(text))),
                Predicted::Absent => Some((key.to_owned(), None)),
                Predicted::Unknown => None,
            });
        Some(Installation {
            cluster: cluster.role.clone(),
            values: set.values.json(),
            config: config.collect(),
            is_complete: set.is_complete,
        })
    };
    Ok(layout.clusters.iter().filter_map(of_cluster).collect())
}
