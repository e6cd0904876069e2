//! Custom resources: those that Cilium needs are there, and what is stored can be read.

use super::{
    inventory::{cilium, condition, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::recent::{self, Age};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;
use std::collections::BTreeSet;

/// CustomResourceDefinitions.
pub struct Definitions;

/// What Cilium's operator installs always.
const ALWAYS: [&str; 5] = [
    "ciliumclusterwidenetworkpolicies.cilium.io",
    "ciliumendpoints.cilium.io",
    "ciliumidentities.cilium.io",
    "ciliumnetworkpolicies.cilium.io",
    "ciliumnodes.cilium.io",
];

/// What it installs, or needs from elsewhere, where a key of `cilium-config` is true.
const WITH: [(&str, &[&str]); 4] = [
    ("enable-l2-announcements", &["ciliuml2announcementpolicies.cilium.io"]),
    (
        "enable-bgp-control-plane",
        &[
            "ciliumbgpclusterconfigs.cilium.io",
            "ciliumbgppeerconfigs.cilium.io",
            "ciliumbgpadvertisements.cilium.io",
        ],
    ),
    ("enable-lb-ipam", &["ciliumloadbalancerippools.cilium.io"]),
    (
        "enable-gateway-api",
        &[
            "gatewayclasses.gateway.networking.k8s.io",
            "gateways.gateway.networking.k8s.io",
            "httproutes.gateway.networking.k8s.io",
        ],
    ),
];

/// Groups of the platform: an old version of them stops an upgrade.
const PLATFORM: [&str; 5] = [
    "cilium.io",
    "gateway.networking.k8s.io",
    "cert-manager.io",
    "spire.spiffe.io",
    ".toolkit.fluxcd.io",
];

#[async_trait]
impl Check for Definitions {
    fn id(&self) -> CheckId {
        CheckId::from("components::crds")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "The custom resources that Cilium needs are established, and every stored version is served",
            proves: "Policies, endpoints, identities and nodes can be written and read, and no objects are kept in a \
                     version that nobody can read: the next upgrade would stop there.",
            how: "The CustomResourceDefinitions are read. Those that this configuration of Cilium needs must be there \
                  and Established; of those of the platform (Cilium, Gateway API, cert-manager, SPIRE, Flux) every \
                  version in `status.storedVersions` must be served. What is wrong is read again after 10 s.",
            control: "At least one definition of Cilium must be found right; otherwise the check is inconclusive.",
            when_red: "Missing: Cilium's operator installs its own when it starts, `kubectl --context CONTEXT -n \
                       kube-system logs deploy/cilium-operator`. A stored version that is not served: write all \
                       objects again in the new version, then take the old one out of the status: `kubectl --context \
                       CONTEXT patch crd NAME --subresource=status --type=merge -p \
                       '{\"status\":{\"storedVersions\":[\"v2\"]}}'`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["crd-missing", "crd-stored-version-unserved"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let cluster = context.instance.from();
        match cilium(context, cluster) {
            Some(_) => conclude(context, self).await,
            None => Verdict::skipped(format!(
                "{cluster} has no ConfigMap cilium-config, so no Cilium to look at"
            )),
        }
    }
}

#[async_trait]
impl Look for Definitions {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let Some(cilium) = cilium(context, context.instance.from()) else {
            return Seen::default();
        };
        let mut seen = Seen::default();
        let cluster = context.instance.from();
        let kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let definitions = recent::list(context, cluster, kind, age).await;
        let Some(definitions) = seen.read("CustomResourceDefinitions", cluster, definitions) else {
            return seen;
        };
        let configured = WITH
            .iter()
            .filter(|(key, _)| cilium.flag(key) == Some(true))
            .flat_map(|(_, names)| *names);
        for name in ALWAYS.iter().chain(configured) {
            if !definitions.iter().any(|one| one["metadata"]["name"] == *name) {
                let expected = "the definition of a resource that this configuration of Cilium needs";
                seen.deviates(
                    format!("CustomResourceDefinition {name}"),
                    expected,
                    "there is none",
                    "get crds",
                );
            }
        }
        let mut right = 0;
        for definition in definitions
            .iter()
            .filter(|one| is_of_platform(text(&one["spec"]["group"])))
        {
            let name = text(&definition["metadata"]["name"]);
            let Some((expected, observed)) = wrong(definition) else {
                right += usize::from(definition["spec"]["group"] == "cilium.io");
                continue;
            };
            let command = format!("get crd {name} -o yaml");
            seen.deviates(format!("CustomResourceDefinition {name}"), expected, observed, command);
        }
        if right > 0 {
            seen.witness(format!(
                "{right} definitions of Cilium are established, and what they store is served"
            ));
        }
        seen
    }
}

fn is_of_platform(group: &str) -> bool {
    PLATFORM
        .iter()
        .any(|known| group == *known || (known.starts_with('.') && group.ends_with(known)))
}

fn wrong(definition: &Value) -> Option<(String, String)> {
    for kind in ["Established", "NamesAccepted"] {
        let found = condition(definition, kind);
        if let Some(found) = found.filter(|one| one["status"] != "True") {
            return Some((
                format!("{kind} True"),
                format!("{}: {}", text(&found["reason"]), text(&found["message"])),
            ));
        }
    }
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let served: BTreeSet<&str> = versions
        .filter(|version| version["served"] == true)
        .map(|version| text(&version["name"]))
        .collect();
    let stored = definition["status"]["storedVersions"].as_array().into_iter().flatten();
    let lost: Vec<&str> = stored.map(text).filter(|version| !served.contains(version)).collect();
    (!lost.is_empty()).then(|| {
        let served: Vec<&str> = served.into_iter().collect();
        (
            "every stored version is served".to_owned(),
            format!(
                "objects may be stored as {}; served: {}",
                lost.join(", "),
                served.join(", ")
            ),
        )
    })
}
