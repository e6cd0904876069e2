//! What Flux does with Cilium after the bootstrap.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    layout::{Cluster, Origin, ValueSet, is_cilium_chart},
    sources::Document,
    table::shown,
    values::Values,
};

/// Old API versions of Flux.
pub const DEPRECATED_API: Rule = Rule {
    id: "flux-api-deprecated",
    severity: Severity::Warning,
    finds: "What Flux installs Cilium from is of an API version that Flux is about to remove.",
    reason: "Once Flux no longer serves it, the object is refused and Cilium is no longer reconciled.",
};

/// A cluster that the bootstrap installs and Flux does not.
pub const RELEASE_MISSING: Rule = Rule {
    id: "helm-release-missing",
    severity: Severity::Warning,
    finds: "One cluster has a HelmRelease of Cilium and another one, which the bootstrap installs, has none.",
    reason: "That cluster stays as the bootstrap left it: changes of its values in Git have no effect. Where a \
             kustomization.yaml lists the HelmRelease, its clusters are taken to be meant.",
};

/// Values that Flux changes after the bootstrap.
pub const VALUES_DIFFER: Rule = Rule {
    id: "values-differ",
    severity: Severity::Warning,
    finds: "The bootstrap and the HelmRelease give one cluster different values.",
    reason: "Flux changes the value as soon as it runs, and the agents keep the old one until they are restarted.",
};

/// Kinds, old versions, the version to use.
const VERSIONS: &[(&str, &[&str], &str)] = &[
    (
        "OCIRepository",
        &["source.toolkit.fluxcd.io/v1beta1", "source.toolkit.fluxcd.io/v1beta2"],
        "v1",
    ),
    (
        "HelmRepository",
        &["source.toolkit.fluxcd.io/v1beta1", "source.toolkit.fluxcd.io/v1beta2"],
        "v1",
    ),
    (
        "HelmRelease",
        &["helm.toolkit.fluxcd.io/v2beta1", "helm.toolkit.fluxcd.io/v2beta2"],
        "v2",
    ),
];

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    for (kind, old, new) in VERSIONS {
        for document in context
            .of_kind(kind)
            .filter(|document| old.contains(&document.api.as_str()))
        {
            if carries_cilium(context, document) {
                let what = format!(
                    "{} {} is deprecated: use {}/{new}",
                    document.api,
                    kind,
                    document.group()
                );
                out.add(&DEPRECATED_API, document.place_of(&["apiVersion"]), what);
            }
        }
    }
    missing(context, out);
    for cluster in &context.layout.clusters {
        differ(context, cluster, out);
    }
}

fn carries_cilium(context: &Context<'_>, document: &Document) -> bool {
    let url = document.node.text_at(&["spec", "url"]).unwrap_or_default();
    let is_release = context
        .layout
        .releases
        .iter()
        .any(|release| release.place == document.place);
    is_release || is_cilium_chart(url) || url.contains("cilium")
}

fn missing(context: &Context<'_>, out: &mut Findings) {
    let releases = &context.layout.releases;
    let is_listed = releases
        .iter()
        .any(|release| context.layout.members.is_listed(release.place.file));
    let (Some(first), false) = (releases.first(), is_listed) else {
        return;
    };
    for cluster in &context.layout.clusters {
        let comes = |origin: &[Origin]| cluster.sets.iter().any(|set| origin.contains(&set.origin));
        let is_bootstrapped = comes(&[Origin::Helmfile, Origin::Named]);
        if is_bootstrapped && !comes(&[Origin::HelmRelease, Origin::Application]) {
            let named: Vec<_> = first.roles.iter().map(String::as_str).collect();
            let what = format!(
                "HelmRelease {} is for {}, and there is none for {}, which the bootstrap installs as well",
                first.name,
                named.join(" and "),
                cluster.role
            );
            out.add(&RELEASE_MISSING, first.place, what);
        }
    }
}

fn differ(context: &Context<'_>, cluster: &Cluster, out: &mut Findings) {
    let of = |origins: &[Origin]| -> Option<&ValueSet> {
        cluster
            .sets
            .iter()
            .find(|set| set.is_complete && origins.contains(&set.origin))
    };
    let bootstrap = of(&[Origin::Named, Origin::Helmfile]);
    let (Some(bootstrap), Some(release)) = (bootstrap, of(&[Origin::HelmRelease, Origin::Application])) else {
        return;
    };
    let values = |set| Values {
        chart: context.chart,
        given: set,
    };
    let (before, after) = (values(&bootstrap.values), values(&release.values));
    for row in context.table.rows() {
        let (Some(a), Some(b)) = (before.text(&row.value), after.text(&row.value)) else {
            continue;
        };
        let is_given = after.is_given(&row.value);
        // A list of maps has no text of its own.
        if a == b || !(is_given || before.is_given(&row.value)) {
            continue;
        }
        let show = |values: &Values<'_>| values.get(&row.value).map_or_else(|| row.default.clone(), shown);
        let place = if is_given {
            after.place(&row.value)
        } else {
            before.place(&row.value)
        };
        let what = format!(
            "{} is {} for {} in the bootstrap and {} in what Flux or Argo CD applies",
            row.value,
            show(&before),
            cluster.role,
            show(&after)
        );
        out.add(&VALUES_DIFFER, place, what);
    }
}
