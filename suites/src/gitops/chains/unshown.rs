//! Values that may not be shown, of which only is told whether Git and the release have the same.

use super::{Builder, Deployed, follow::link};
use meshproof_claims::{
    stated::hidden,
    values::{Leaf, leaves},
};
use meshproof_contract::{Break, Chain, ClaimSource, LinkKind, LinkState, chain::Hidden};
use std::collections::BTreeSet;

/// What stands for a value.
const NOT_SHOWN: &str = "(not shown)";

impl Deployed<'_> {
    /// What the release has at a path: what was given, or else the chart's default.
    fn hidden(&self, keys: &[&str]) -> Option<Hidden> {
        let given = self.given.dig(keys);
        given
            .or_else(|| self.chart.default_of(&keys.join(".")))
            .and_then(hidden)
    }

    /// Whether a value was given that is not the chart's default.
    fn is_changed(&self, leaf: &Leaf<'_>) -> bool {
        hidden(leaf.node) != self.chart.default_of(&leaf.path()).and_then(hidden)
    }
}

impl Builder<'_> {
    /// Compares them, where all files could be read.
    pub(super) fn unshown(&mut self) {
        let (Some(git), Some(deployed)) = (self.sources.git, &self.deployed) else {
            return;
        };
        let cluster = self.sources.cluster;
        if !git.complete.contains(cluster) {
            return;
        }
        let release = format!(
            "release {}, revision {}",
            deployed.release.name, deployed.release.revision
        );
        let mut differ: Vec<(String, Option<ClaimSource>, String)> = Vec::new();
        let all = || git.unshown.iter().filter(|one| one.cluster == *cluster);
        for stated in all() {
            let keys: Vec<&str> = stated.keys.iter().map(String::as_str).collect();
            let has = deployed.hidden(&keys);
            let nothing = Hidden::new("");
            if *has.as_ref().unwrap_or(&nothing) != stated.value {
                let what = if has.is_some() { "another value" } else { "none" };
                let path = keys.join(".");
                let why = format!("Git states `{path}`, and {release} has {what}: what Git says is not installed");
                differ.push((path, Some(stated.source.clone()), why));
            }
        }
        let told: BTreeSet<String> = all().map(|one| one.keys.join(".")).collect();
        for leaf in leaves(&deployed.given) {
            let path = leaf.path();
            let is_claim = self.table.row(&path).is_some();
            if !is_claim && !told.contains(&path) && deployed.is_changed(&leaf) {
                let why = format!("no file states `{path}`, and {release} has a value: it was given by hand");
                differ.push((path, None, why));
            }
        }
        for (path, source, why) in differ {
            let broken = Break {
                at: LinkKind::Helm,
                why,
                next: self.sources.next.install.clone(),
            };
            self.break_at_helm(path, source, broken);
        }
    }

    /// Of a claim that is told already, the link that breaks; of any other value a chain of its own.
    fn break_at_helm(&mut self, path: String, source: Option<ClaimSource>, broken: Break) {
        if let Some(known) = self.found.all.iter_mut().find(|chain| chain.claim == path) {
            for link in known.links.iter_mut().filter(|link| link.kind == LinkKind::Helm) {
                link.state = LinkState::Broken;
            }
            known.broken.get_or_insert(broken);
            return;
        }
        let place = source.as_ref().map(ToString::to_string);
        let state = if source.is_some() {
            LinkState::Holds
        } else {
            LinkState::NotRead
        };
        self.found.all.push(Chain {
            cluster: self.sources.cluster.clone(),
            claim: path,
            links: vec![
                link(
                    LinkKind::Git,
                    state,
                    if source.is_some() { NOT_SHOWN } else { "not stated" },
                    place,
                ),
                link(LinkKind::Helm, LinkState::Broken, NOT_SHOWN, None),
            ],
            broken: Some(broken),
            source,
            checks: Vec::new(),
        });
    }
}
