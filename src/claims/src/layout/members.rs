//! Which clusters the objects of a file are for: by words of its path, by the Kustomizations that reach it.

use super::roles::role_of_path;
use crate::{
    place::FileId,
    sources::{Sources, beside, folder},
    yaml::Node,
};
use std::collections::{BTreeMap, BTreeSet};

/// How often references are followed.
const DEEPEST: usize = 12;

/// The clusters of each file; a file that is not in it can be for any.
#[derive(Debug, Default)]
pub struct Members {
    by_path: BTreeMap<FileId, BTreeSet<String>>,
    by_reference: BTreeMap<FileId, BTreeSet<String>>,
    listed: BTreeSet<FileId>,
}

impl Members {
    /// Computes them.
    pub(super) fn of(sources: &Sources, roles: &BTreeSet<String>) -> Self {
        let mut members = Self::default();
        let mut folders = BTreeSet::new();
        for (_, path) in sources.paths() {
            folders.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
        }
        for (file, path) in sources.paths() {
            if let Some(role) = by_words(path, roles, &folders) {
                members.by_path.insert(file, BTreeSet::from([role]));
            }
        }
        for _ in 0..DEEPEST {
            if !members.follow(sources) {
                break;
            }
        }
        members
    }

    /// Follows every Kustomization once; whether something changed.
    fn follow(&mut self, sources: &Sources) -> bool {
        let mut changed = false;
        for document in sources
            .documents
            .iter()
            .filter(|document| document.kind == "Kustomization")
        {
            let file = document.file();
            let reached = if document.group() == "kustomize.toolkit.fluxcd.io" {
                let path = document
                    .node
                    .text_at(&["spec", "path"])
                    .and_then(|path| beside("", path));
                path.map(|path| below(sources, &path)).unwrap_or_default()
            } else {
                resources(sources, folder(sources.path(file)), &document.node)
            };
            let is_flux = document.group() == "kustomize.toolkit.fluxcd.io";
            let roles = self.roles(file);
            for reached in reached {
                changed |= !is_flux && self.listed.insert(reached);
                if !roles.is_empty() && !self.by_path.contains_key(&reached) {
                    let known = self.by_reference.entry(reached).or_default();
                    let before = known.len();
                    known.extend(roles.iter().cloned());
                    changed |= known.len() != before;
                }
            }
        }
        changed
    }

    /// The clusters of a file; none means that nothing says so.
    pub fn roles(&self, file: FileId) -> BTreeSet<String> {
        let found = self.by_path.get(&file).or_else(|| self.by_reference.get(&file));
        found.cloned().unwrap_or_default()
    }

    /// Whether a kustomization.yaml lists the file.
    pub fn is_listed(&self, file: FileId) -> bool {
        self.listed.contains(&file)
    }
}

/// The role that a path states: the folder below `clusters/`; a name that begins or ends with the role; or a folder
/// with the role's name beside one with another role's (`apps/` alone is mostly a folder of applications).
fn by_words(path: &str, roles: &BTreeSet<String>, folders: &BTreeSet<&str>) -> Option<String> {
    if let Some(role) = role_of_path(path).filter(|role| roles.contains(*role)) {
        return Some(role.to_owned());
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name
        .strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"))
        .unwrap_or(name);
    let separates = |rest: &str, at_end: bool| {
        let edge = if at_end {
            rest.chars().next_back()
        } else {
            rest.chars().next()
        };
        edge.is_none_or(|c| "-_.".contains(c))
    };
    let names = |role: &&String| {
        stem.strip_suffix(role.as_str())
            .is_some_and(|rest| separates(rest, true))
            || stem
                .strip_prefix(role.as_str())
                .is_some_and(|rest| separates(rest, false))
    };
    if let Some(role) = roles.iter().filter(names).max_by_key(|role| role.len()) {
        return Some(role.clone());
    }
    let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
    let mut folders_up: Vec<&str> = ends.map(|end| &folder[..end]).collect();
    folders_up.reverse();
    folders_up.into_iter().find_map(|folder| {
        let (parent, last) = folder
            .rsplit_once('/')
            .map_or(("", folder), |(parent, last)| (parent, last));
        let beside = |role: &String| {
            let other = if parent.is_empty() {
                role.clone()
            } else {
                format!("{parent}/{role}")
            };
            role != last && folders.contains(other.as_str())
        };
        (roles.contains(last) && roles.iter().any(beside)).then(|| last.to_owned())
    })
}

/// The files that a kustomization.yaml brings in itself: resources, components, bases. A folder stands for the
/// kustomization.yaml in it.
fn resources(sources: &Sources, base: &str, node: &Node) -> Vec<FileId> {
    let lists = ["resources", "components", "bases"].into_iter();
    let named = lists.flat_map(|list| node.items_at(&[list])).filter_map(Node::text);
    named
        .filter_map(|path| beside(base, path))
        .flat_map(|path| {
            let inside = ["kustomization.yaml", "kustomization.yml"].map(|name| format!("{path}/{name}"));
            let found = std::iter::once(path).chain(inside).find_map(|path| sources.file(&path));
            found.into_iter().collect::<Vec<_>>()
        })
        .collect()
}

/// What Flux applies from a folder: what its kustomization.yaml lists, or every file below it.
fn below(sources: &Sources, path: &str) -> Vec<FileId> {
    let inside = ["kustomization.yaml", "kustomization.yml"].map(|name| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}/{name}")
        }
    });
    if let Some(file) = inside.iter().find_map(|path| sources.file(path)) {
        return vec![file];
    }
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    sources
        .paths()
        .filter(|(_, path)| path.starts_with(&prefix))
        .map(|(file, _)| file)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_path_is_a_role_and_a_part_of_a_word_is_none() {
        let roles = BTreeSet::from(["infra".to_owned(), "apps".to_owned()]);
        let role = |path| by_words(path, &roles, &BTreeSet::from(["k/infra", "k/apps", "apps"]));
        assert_eq!(
            role("kubernetes/databases/services-infra.yaml").as_deref(),
            Some("infra")
        );
        assert_eq!(role("kubernetes/infrastructure/lb-pool.yaml"), None);
        assert_eq!(role("clusters/apps/infra/x.yaml").as_deref(), Some("apps"));
        assert_eq!(role("k/apps/gitlab.yml").as_deref(), Some("apps"));
        assert_eq!(role("apps/gitlab.yml"), None, "a folder of applications");
        assert_eq!(role("x/myapps.yaml"), None);
    }
}
