//! What a repository says of the clusters of a run, in the words of the contract: values that the table knows, and
//! pins. Nothing else of the files leaves here, since values may be secret.

use crate::{
    chart::{Chart, Known},
    check::{Request, named, shown_path},
    finding::Findings,
    layout::Layout,
    place::Place,
    prediction::{Predicted, Prediction},
    sources::{Sources, SourcesError},
    table::{Table, shown},
    values::leaves,
};
use meshproof_contract::{
    ClaimSource, ClusterName, GitFacts,
    chain::{Pin, Stated},
};

/// Reads a repository, or only the files that the user names (`root` is none then).
///
/// # Errors
/// The folder, or a file that the user names, cannot be read.
pub fn stated(request: &Request, is_repository: bool) -> Result<GitFacts, SourcesError> {
    let (chart, prediction) = (Chart::new(), Prediction::new());
    let table = Table::new(&chart, &prediction);
    let mut sources = if is_repository {
        Sources::read(&request.root)?
    } else {
        Sources::below(&request.root)
    };
    let named = named(&mut sources, &request.values)?;
    let layout = Layout::of(&mut sources, &chart, &named, &mut Findings::default());
    let at = |place: Place| ClaimSource::File {
        path: shown_path(&request.root, sources.path(place.file)),
        line: place.line,
    };
    let mut facts = GitFacts::default();
    for cluster in &layout.clusters {
        let name = ClusterName::new(&cluster.role);
        let (Some(set), Some(values)) = (cluster.set(), cluster.values(&chart)) else {
            continue;
        };
        if set.is_complete {
            facts.complete.push(name.clone());
        }
        for leaf in leaves(&set.values) {
            let path = leaf.path();
            let known = chart.know(&leaf.keys) != Known::Unknown;
            let Some(row) = table.row(&path).filter(|_| known && !leaf.node.is_opaque()) else {
                continue;
            };
            let predicted = |key: &&'static str| match prediction.predict(key, &values) {
                Predicted::Is(text) => Some(((*key).to_owned(), Some(text))),
                Predicted::Absent => Some(((*key).to_owned(), None)),
                Predicted::Unknown => None,
            };
            facts.stated.push(Stated {
                cluster: name.clone(),
                claim: path,
                value: shown(leaf.node),
                source: at(leaf.place),
                config: row.config_keys.iter().filter_map(predicted).collect(),
            });
        }
    }
    for pin in &layout.pins {
        facts.pins.push(Pin {
            clusters: pin.roles.iter().map(ClusterName::new).collect(),
            version: pin.text.clone(),
            by: pin.by.clone(),
            source: at(pin.place),
        });
    }
    facts.from = if is_repository {
        request.root.display().to_string()
    } else {
        let files = request.values.iter().map(|(_, file)| file.display().to_string());
        files.collect::<Vec<_>>().join(", ")
    };
    Ok(facts)
}
