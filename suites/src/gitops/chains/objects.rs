//! What of the release is not about `cilium-config`: its workloads, and values that its chart does not know.

use super::{Builder, changed, follow::link};
use meshproof_claims::{chart::Known, drift, values::leaves};
use meshproof_contract::{Chain, LinkKind, LinkState};
use std::collections::BTreeSet;

/// What a release has that Kubernetes runs.
const WORKLOADS: [&str; 2] = ["DaemonSet", "Deployment"];

impl Builder<'_> {
    /// DaemonSets and Deployments of the release that are not as it rendered them.
    pub(super) fn workloads(&mut self) {
        let objects = self
            .deployed
            .as_ref()
            .map(|deployed| deployed.objects.clone())
            .unwrap_or_default();
        if self.sources.reading.workloads.is_err() {
            return;
        }
        let told: Vec<String> = self.found.all.iter().map(|chain| chain.claim.clone()).collect();
        let is_told = |kind: &str, name: &str| {
            let about = format!("{kind} kube-system/{name}");
            let rows = self.table.rows().iter().filter(|row| row.objects.contains(&about));
            rows.into_iter()
                .any(|row| row.value.ends_with(".replicas") && told.contains(&row.value))
        };
        let mut chains = Vec::new();
        for rendered in &objects {
            let kind = rendered["kind"].as_str().unwrap_or_default();
            let name = rendered["metadata"]["name"].as_str().unwrap_or_default();
            let namespace = rendered["metadata"]["namespace"].as_str();
            let elsewhere = namespace.is_some_and(|namespace| namespace != self.sources.reading.namespace);
            if !WORKLOADS.contains(&kind) || elsewhere {
                continue;
            }
            let place = format!("{kind} {}/{name}", self.sources.reading.namespace);
            let Some(live) = self.sources.reading.workload(kind, name) else {
                let why = format!("the release has {place}, and the cluster does not");
                chains.push(self.of_object(&place, "absent", &place, why));
                continue;
            };
            let mut found = drift::of_workload(rendered, live);
            found.retain(|one| one.what != "replicas" || !is_told(kind, name));
            for one in found {
                let (before, now) = (quoted(one.rendered.as_deref()), quoted(one.live.as_deref()));
                let by = changed(one.by.as_ref());
                let why = format!("the release rendered {} {before}, and {place} has {now}{by}", one.what);
                let claim = format!("{kind} {name}: {}", one.what);
                chains.push(self.of_object(&claim, one.live.as_deref().unwrap_or("absent"), &place, why));
            }
        }
        self.found.all.extend(chains);
    }

    fn of_object(&self, claim: &str, value: &str, place: &str, why: String) -> Chain {
        let live = link(LinkKind::Live, LinkState::Broken, value, Some(place.to_owned()));
        Chain {
            cluster: self.sources.cluster.clone(),
            claim: claim.to_owned(),
            links: vec![live],
            broken: Some(self.break_at(LinkKind::Live, why, &self.sources.next.put_back)),
            source: None,
            checks: Vec::new(),
        }
    }

    /// Values that were given and that neither the defaults nor the templates of the release's own chart know.
    pub(super) fn unknown_values(&mut self) {
        let Some(deployed) = &self.deployed else { return };
        let mut known = BTreeSet::new();
        for leaf in leaves(&deployed.given) {
            let is_anchor = |key: &&&str| key.starts_with("x-") || **key == "sops";
            if leaf.keys.first().is_some_and(|key| is_anchor(&key)) || deployed.chart.know(&leaf.keys) != Known::Unknown
            {
                continue;
            }
            let wrong =
                (1..=leaf.keys.len()).find(|length| deployed.chart.know(&leaf.keys[..*length]) == Known::Unknown);
            let path = leaf.keys[..wrong.unwrap_or(leaf.keys.len())].join(".");
            if !deployed.release.reads(&path) && known.insert(path.clone()) {
                let meant = deployed.chart.suggestion(&path).map(str::to_owned);
                self.found.unknown.push((path, meant));
            }
        }
    }
}

fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "none".to_owned(), |text| format!("`{text}`"))
}
