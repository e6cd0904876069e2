//! The pods that a repository tells of: by its workloads, by the selectors of its Services, by its databases.

use crate::{
    place::FileId,
    sources::{Document, Sources, beside, folder},
    yaml::Node,
};
use std::collections::{BTreeMap, BTreeSet};

/// Pods of one workload or Service.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their namespace; empty where the repository does not say.
    pub namespace: String,
    /// Their labels, or those that are known.
    pub labels: Vec<(String, String)>,
    /// Whether these are all their labels.
    pub is_whole: bool,
    /// What tells of them: `Service postgres-rw`.
    pub by: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Pods {
    groups: Vec<Group>,
    /// Namespaces in which something is installed that the repository does not spell out.
    open: BTreeSet<String>,
}

impl Pods {
    /// Reads them.
    pub(super) fn of(sources: &Sources) -> Self {
        let namespaces = namespaces(sources);
        let mut pods = Self::default();
        for document in &sources.documents {
            let namespace = match document.namespace.as_str() {
                "" => namespaces.get(&document.file()).cloned().unwrap_or_default(),
                stated => stated.to_owned(),
            };
            pods.add(document, namespace);
        }
        pods
    }

    fn add(&mut self, document: &Document, namespace: String) {
        let (labels, is_whole) = match (document.kind.as_str(), document.group()) {
            ("Service", _) => (labels(document.node.dig(&["spec", "selector"])), false),
            ("Cluster", "postgresql.cnpg.io") => (vec![("cnpg.io/cluster".to_owned(), document.name.clone())], false),
            ("HelmRelease", _) => {
                let target = document.node.text_at(&["spec", "targetNamespace"]);
                self.open.insert(target.map_or(namespace, str::to_owned));
                return;
            }
            ("Application" | "ApplicationSet", _) => {
                let target = ["spec", "destination", "namespace"];
                self.open.extend(document.node.text_at(&target).map(str::to_owned));
                return;
            }
            _ => (labels(document.node.dig(&["pods", "labels"])), true),
        };
        if !labels.is_empty() {
            self.groups.push(Group {
                namespace,
                labels,
                is_whole,
                by: format!("{} {}", document.kind, document.name),
            });
        }
    }

    /// Those of a namespace, with those whose namespace is not known.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Group> {
        self.groups.iter().filter(move |group| group.namespace == namespace || group.namespace.is_empty())
    }

    /// Whether pods of a namespace are spelt out in the repository and nothing else is installed in it.
    pub fn is_spelt_out(&self, namespace: &str) -> bool {
        !self.open.contains(namespace) && self.in_namespace(namespace).any(|group| group.is_whole)
    }
}

fn labels(node: Option<&Node>) -> Vec<(String, String)> {
    let entries = node.map_or(&[][..], Node::entries).iter();
    entries.filter_map(|entry| Some((entry.key.clone(), entry.node.scalar()?))).collect()
}

/// The namespace that a kustomization.yaml gives the files that it lists.
fn namespaces(sources: &Sources) -> BTreeMap<FileId, String> {
    let mut found = BTreeMap::new();
    for document in sources.documents.iter().filter(|document| document.kind == "Kustomization") {
        let Some(namespace) = document.node.text_at(&["namespace"]) else { continue };
        let base = folder(sources.path(document.file()));
        for path in document.node.items_at(&["resources"]).iter().filter_map(Node::text) {
            let file = beside(base, path).and_then(|path| sources.file(&path));
            found.extend(file.map(|file| (file, namespace.to_owned())));
        }
    }
    found
}
