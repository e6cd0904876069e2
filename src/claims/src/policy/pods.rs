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
    /// By namespace; those of no known namespace under the empty one.
    groups: BTreeMap<String, Vec<Group>>,
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
        for workload in &sources.workloads {
            let namespace = match workload.namespace.as_str() {
                "" => namespaces.get(&workload.file).cloned().unwrap_or_default(),
                stated => stated.to_owned(),
            };
            pods.groups.entry(namespace).or_default().push(Group {
                labels: workload.labels.clone(),
                is_whole: true,
                by: workload.name.clone(),
            });
        }
        pods
    }

    fn add(&mut self, document: &Document, namespace: String) {
        let labels = match (document.kind.as_str(), document.group()) {
            ("Service", _) => labels(document.node.dig(&["spec", "selector"])),
            ("Cluster", "postgresql.cnpg.io") => vec![("cnpg.io/cluster".to_owned(), document.name.clone())],
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
            _ => return,
        };
        if !labels.is_empty() {
            self.groups.entry(namespace).or_default().push(Group {
                labels,
                is_whole: false,
                by: format!("{} {}", document.kind, document.name),
            });
        }
    }

    /// Those of a namespace, with those whose namespace is not known.
    pub fn in_namespace<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Group> + use<'a> {
        let of = |namespace: &str| self.groups.get(namespace).into_iter().flatten();
        let unknown = if namespace.is_empty() { None } else { Some(of("")) };
        of(namespace).chain(unknown.into_iter().flatten())
    }

    /// Whether pods of a namespace are spelt out in the repository and nothing else is installed in it.
    pub fn is_spelt_out(&self, namespace: &str) -> bool {
        !self.open.contains(namespace) && self.in_namespace(namespace).any(|group| group.is_whole)
    }
}

fn labels(node: Option<&Node>) -> Vec<(String, String)> {
    let entries = node.map_or(&[][..], Node::entries).iter();
    entries
        .filter_map(|entry| Some((entry.key.clone(), entry.node.scalar()?)))
        .collect()
}

/// The namespace that a kustomization.yaml gives the files that it lists.
fn namespaces(sources: &Sources) -> BTreeMap<FileId, String> {
    let mut found = BTreeMap::new();
    for document in sources
        .documents
        .iter()
        .filter(|document| document.kind == "Kustomization")
    {
        let Some(namespace) = document.node.text_at(&["namespace"]) else {
            continue;
        };
        let base = folder(sources.path(document.file()));
        for path in document.node.items_at(&["resources"]).iter().filter_map(Node::text) {
            let file = beside(base, path).and_then(|path| sources.file(&path));
            found.extend(file.map(|file| (file, namespace.to_owned())));
        }
    }
    found
}
