//! Roles from paths, and files of values that nothing refers to.

use crate::{chart::Chart, place::FileId, sources::Sources, yaml::Node};
use std::collections::{BTreeMap, BTreeSet};

/// Folders whose children are named after clusters.
const PARENTS: &[&str] = &["clusters", "cluster", "environments", "envs", "environment"];

/// The role that a path states: the folder below `clusters/`.
pub(super) fn role_of_path(path: &str) -> Option<&str> {
    let parts: Vec<&str> = path.split('/').collect();
    let folders = &parts[..parts.len() - 1];
    let parent = folders.iter().position(|part| PARENTS.contains(part))?;
    folders.get(parent + 1).copied()
}

/// The role of a file of values: by its path, or the name of the cluster in it.
pub(super) fn role_of_values(sources: &mut Sources, file: FileId) -> Option<String> {
    let path = sources.path(file).to_owned();
    role_of_path(&path).map(str::to_owned).or_else(|| {
        let values = sources.values(file);
        values.dig(&["cluster", "name"]).and_then(Node::scalar)
    })
}

/// Files of Cilium's values that no helmfile and no release names, by role. Files without a role come first, for all.
pub(super) fn found_by_path(
    sources: &mut Sources,
    chart: &Chart,
    taken: &BTreeSet<FileId>,
    may_be_all: bool,
    assumptions: &mut Vec<String>,
) -> BTreeMap<String, Vec<FileId>> {
    let with_documents: BTreeSet<FileId> = sources.documents.iter().map(|document| document.file()).collect();
    let is_candidate = |path: &str| {
        let parts: Vec<&str> = path.rsplitn(3, '/').collect();
        let file = parts[0];
        let named = file.contains("cilium") && file.contains("values");
        let in_folder = parts.get(1).is_some_and(|folder| folder.contains("cilium")) && file.contains("values");
        let alone = ["cilium.yaml", "cilium.yml"].contains(&file);
        named || in_folder || alone
    };
    let candidates: Vec<FileId> = sources
        .paths()
        .filter(|(file, path)| is_candidate(path) && !taken.contains(file) && !with_documents.contains(file))
        .map(|(file, _)| file)
        .collect();
    let (mut base, mut by_role): (Vec<FileId>, BTreeMap<String, Vec<FileId>>) = Default::default();
    for file in candidates {
        let values = sources.values(file);
        let (known, all) = (
            values
                .entries()
                .iter()
                .filter(|entry| chart.has_top_key(&entry.key))
                .count(),
            values.entries().len(),
        );
        if known == 0 || known * 2 < all {
            continue;
        }
        match role_of_values(sources, file) {
            Some(role) => by_role.entry(role).or_default().push(file),
            None => base.push(file),
        }
    }
    if by_role.is_empty() && may_be_all && !base.is_empty() {
        assumptions
            .push("no file says which cluster it is for: its values are checked as those of one cluster".to_owned());
        by_role.insert("cluster".to_owned(), Vec::new());
    }
    for (role, files) in &mut by_role {
        if !base.is_empty() {
            let shown: Vec<_> = base.iter().map(|file| sources.path(*file)).collect();
            assumptions.push(format!(
                "{role}: {} below the cluster's own values, by its path",
                shown.join(", ")
            ));
        }
        files.splice(0..0, base.iter().copied());
    }
    by_role
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_below_clusters_is_the_role() {
        assert_eq!(
            role_of_path("bootstrap/clusters/infra/cilium-values.yaml"),
            Some("infra")
        );
        assert_eq!(role_of_path("clusters/infra.yaml"), None);
        assert_eq!(role_of_path("a/b.yaml"), None);
    }
}
