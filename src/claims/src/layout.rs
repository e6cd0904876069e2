//! Which file belongs to which cluster, and what it says of it: values from the bootstrap's helmfile, from Flux, from
//! Argo CD, from the command line, or found by their path.

mod argo;
mod flux;
mod helmfile;
mod members;
mod pattern;
mod roles;

pub use flux::{Release, is_cilium_chart};
pub use members::Members;

use crate::{
    chart::Chart,
    finding::Findings,
    place::{FileId, Place},
    sources::Sources,
    values::{Values, merge},
    version::Range,
    yaml::Node,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The command line or `meshproof.yaml` names the files.
    Named,
    /// A helmfile.
    Helmfile,
    /// Found by path and content.
    Path,
    /// A HelmRelease of Flux.
    HelmRelease,
    /// An Application of Argo CD.
    Application,
}

impl Origin {
    /// In words, for the mapping.
    pub fn words(self) -> &'static str {
        match self {
            Origin::Named => "named by the user",
            Origin::Helmfile => "helmfile",
            Origin::Path => "by path",
            Origin::HelmRelease => "HelmRelease",
            Origin::Application => "Argo CD Application",
        }
    }
}

/// The values that one origin gives a cluster.
#[derive(Clone, Debug)]
pub struct ValueSet {
    /// Where they come from.
    pub origin: Origin,
    /// The files, in the order in which they are merged.
    pub files: Vec<FileId>,
    /// The merged values.
    pub values: Node,
    /// Whether every part could be read; if not, nothing is concluded from what is missing.
    pub is_complete: bool,
}

/// A version that is pinned somewhere.
#[derive(Clone, Debug)]
pub struct Pin {
    /// As written.
    pub text: String,
    /// What it allows; `None` where it cannot be known here.
    pub range: Option<Range>,
    /// Where.
    pub place: Place,
    /// What pins it: `the bootstrap`, `OCIRepository cilium-charts`.
    pub by: String,
    /// The clusters that it is for; none means all.
    pub roles: BTreeSet<String>,
}

/// A cluster of the repository.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its role: `infra`, `apps`.
    pub role: String,
    /// Its values, by origin; the last complete ones are in force in the end.
    pub sets: Vec<ValueSet>,
}

impl Cluster {
    /// The values that are in force in the end.
    pub fn set(&self) -> Option<&ValueSet> {
        let complete = self.sets.iter().rev().find(|set| set.is_complete);
        complete.or_else(|| self.sets.first())
    }

    /// The same on top of the chart's defaults.
    pub fn values<'a>(&'a self, chart: &'a Chart) -> Option<Values<'a>> {
        self.set().map(|set| Values {
            chart,
            given: &set.values,
        })
    }

    /// `cluster.name` of its values, else the role.
    pub fn name(&self, chart: &Chart) -> String {
        let values = self.values(chart);
        let name = values
            .filter(|values| values.is_given("cluster.name"))
            .and_then(|values| values.text("cluster.name"));
        name.unwrap_or_else(|| self.role.clone())
    }
}

/// The repository, laid out by clusters.
#[derive(Debug)]
pub struct Layout {
    /// The clusters, in the order of their roles.
    pub clusters: Vec<Cluster>,
    /// Every pin of Cilium's version.
    pub pins: Vec<Pin>,
    /// Places that install Cilium without naming a version.
    pub unpinned: Vec<(Place, String)>,
    /// The HelmReleases of Cilium.
    pub releases: Vec<Release>,
    /// Which clusters a file is for.
    pub members: Members,
    /// Assumptions that the user should see.
    pub assumptions: Vec<String>,
}

/// Files that the user names for a cluster: role, files in order.
pub type Named = Vec<(String, Vec<FileId>)>;

impl Layout {
    /// Lays out the repository; what is wrong with the references themselves goes to `findings`.
    pub fn of(sources: &mut Sources, chart: &Chart, named: &Named, findings: &mut Findings) -> Self {
        let mut assumptions = Vec::new();
        let mut unpinned = Vec::new();
        let (bootstraps, mut pins) = helmfile::read(sources, findings, &mut unpinned);
        let mut sets: BTreeMap<String, Vec<ValueSet>> = BTreeMap::new();
        let mut taken: BTreeSet<FileId> = BTreeSet::new();
        for (role, files) in named {
            taken.extend(files);
            let set = merged(
                sources,
                Origin::Named,
                files.iter().map(|file| Layer::File(*file)).collect(),
            );
            sets.entry(role.clone()).or_default().push(set);
        }
        for bootstrap in &bootstraps {
            for (role, layers) in bootstrap.by_role(sources) {
                let set = merged(sources, Origin::Helmfile, layers);
                taken.extend(&set.files);
                let is_named = named.iter().any(|(known, _)| *known == role);
                if !is_named {
                    sets.entry(role).or_default().push(set);
                }
            }
        }
        let by_path = roles::found_by_path(sources, chart, &taken, sets.is_empty(), &mut assumptions);
        for (role, files) in by_path {
            let is_known = sets.contains_key(&role);
            if !is_known {
                let set = merged(sources, Origin::Path, files.into_iter().map(Layer::File).collect());
                sets.entry(role).or_default().push(set);
            }
        }
        let roles: BTreeSet<String> = sets.keys().cloned().chain(argo::roles(sources)).collect();
        let members = Members::of(sources, &roles);
        let mut releases = flux::releases(sources, &members, &mut pins, &mut unpinned);
        for release in &mut releases {
            let of = if release.roles.is_empty() {
                roles.clone()
            } else {
                release.roles.clone()
            };
            for role in of {
                let (layers, is_complete) = release.layers(sources, &members, &role, findings);
                let mut set = merged(sources, Origin::HelmRelease, layers);
                set.is_complete &= is_complete;
                sets.entry(role).or_default().push(set);
            }
        }
        argo::add(sources, &members, &roles, &mut sets, &mut pins);
        let clusters = sets.into_iter().map(|(role, sets)| Cluster { role, sets }).collect();
        Self {
            clusters,
            pins,
            unpinned,
            releases,
            members,
            assumptions,
        }
    }

    /// Whether a cluster is meant by these roles; none means all.
    pub fn concerns(roles: &BTreeSet<String>, role: &str) -> bool {
        roles.is_empty() || roles.contains(role)
    }
}

/// A part of a cluster's values.
#[derive(Clone, Debug)]
pub enum Layer {
    /// A file.
    File(FileId),
    /// Values written where they are used.
    Inline(Node),
    /// Something that cannot be read here.
    Unreadable,
}

fn merged(sources: &mut Sources, origin: Origin, layers: Vec<Layer>) -> ValueSet {
    let mut set = ValueSet {
        origin,
        files: Vec::new(),
        values: Node::empty_map(Place::default()),
        is_complete: true,
    };
    for layer in layers {
        let node = match layer {
            Layer::Unreadable => {
                set.is_complete = false;
                continue;
            }
            Layer::Inline(node) => {
                set.files.push(node.place.file);
                node
            }
            Layer::File(file) => {
                set.files.push(file);
                let before = sources.malformed.len() + sources.notes.len();
                let node = sources.values(file);
                set.is_complete &= before == sources.malformed.len() + sources.notes.len();
                node
            }
        };
        if set.values.place == Place::default() {
            set.values.place = node.place;
        }
        merge(&mut set.values, node);
    }
    set.files.dedup();
    set
}
