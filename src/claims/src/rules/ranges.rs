//! Ranges of addresses: those of pods and services, and those that settings must cover.

use super::{Context, mesh};
use crate::{
    finding::{Findings, Rule, Severity},
    layout::Cluster,
    place::Place,
    values::Values,
    yaml::Node,
};
use ipnet::IpNet;

/// Pods' ranges that overlap.
pub const PODS_OVERLAP: Rule = Rule {
    id: "pod-ranges-overlap",
    severity: Severity::Error,
    finds: "The pods of two clusters of a mesh have addresses of one range.",
    reason: "A packet to such an address reaches a pod of the own cluster; the ranges of a mesh must be disjoint.",
};

/// Services' ranges that overlap.
pub const SERVICES_OVERLAP: Rule = Rule {
    id: "service-ranges-overlap",
    severity: Severity::Warning,
    finds: "The Services of two clusters of a mesh have addresses of one range.",
    reason: "Cilium translates them in each cluster by itself, but an address in a log or a flow does not tell the \
             cluster, and anything that routes between the clusters cannot either.",
};

/// Masqueraded traffic between clusters.
pub const NATIVE_RANGE: Rule = Rule {
    id: "native-routing-range",
    severity: Severity::Error,
    finds: "ipv4NativeRoutingCIDR does not cover the pods of every cluster of the mesh.",
    reason: "What leaves the range is masqueraded: the other cluster sees the node's address, and its policies do not \
             recognise the pod.",
};

/// Traffic that strict mode does not hold back.
pub const STRICT_RANGE: Rule = Rule {
    id: "strict-mode-range",
    severity: Severity::Error,
    finds: "encryption.strictMode.cidr does not cover the pods of every cluster of the mesh.",
    reason: "Strict mode drops unencrypted packets whose both addresses are in its one prefix (C7, C8).",
};

const NATIVE: &str = "ipv4NativeRoutingCIDR";
const STRICT: &str = "encryption.strictMode.cidr";

/// What is known of a cluster's pods.
#[derive(Clone, Debug)]
enum Pods {
    /// Their ranges, and where they are stated.
    Stated(Vec<IpNet>, Place),
    /// A range that contains them: the native routing range must, or pods of two nodes could not talk.
    Within(IpNet),
}

impl Pods {
    /// What a range certainly leaves out of them, in words.
    fn outside(&self, range: &IpNet) -> Option<String> {
        match self {
            Pods::Stated(ranges, _) => {
                let missing: Vec<_> = ranges
                    .iter()
                    .filter(|pods| !range.contains(*pods))
                    .map(IpNet::to_string)
                    .collect();
                (!missing.is_empty()).then(|| missing.join(", "))
            }
            Pods::Within(around) => (!meet(range, around)).then(|| around.to_string()),
        }
    }
}

fn meet(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let all: Vec<_> = context
        .clusters()
        .map(|(cluster, values)| (cluster, values, pods(context, cluster, &values)))
        .collect();
    let mesh: Vec<_> = mesh::members(context)
        .iter()
        .map(|(cluster, _)| cluster.role.clone())
        .collect();
    for (at, (cluster, values, own)) in all.iter().enumerate() {
        let is_member = mesh.contains(&cluster.role);
        let mut reached = vec![(cluster.role.as_str(), own)];
        if is_member {
            let others = all
                .iter()
                .filter(|(other, ..)| other.role != cluster.role && mesh.contains(&other.role));
            reached.extend(others.map(|(other, _, pods)| (other.role.as_str(), pods)));
        }
        native(values, &reached, out);
        strict(cluster, values, &reached, out);
        for (other, _, theirs) in all[..at]
            .iter()
            .filter(|(other, ..)| is_member && mesh.contains(&other.role))
        {
            overlap(cluster, other, own.as_ref(), theirs.as_ref(), out);
            services_overlap(context, cluster, other, out);
        }
    }
}

type Reached<'a> = [(&'a str, &'a Option<Pods>)];

fn range(values: &Values<'_>, path: &str) -> Option<IpNet> {
    values.text(path)?.parse().ok()
}

fn native(values: &Values<'_>, reached: &Reached<'_>, out: &mut Findings) {
    let masquerades = values.text("enableIPv4Masquerade").is_some_and(|text| text != "false");
    let is_native = values.text("routingMode").as_deref() == Some("native");
    let Some(range) = range(values, NATIVE).filter(|_| masquerades && is_native) else {
        return;
    };
    if values.stated("ipMasqAgent.enabled").is_truthy() != Some(false) {
        return;
    }
    let missing = missing(&range, reached);
    if !missing.is_empty() {
        let what = format!("{NATIVE} {range} does not cover {missing}: what goes there is masqueraded");
        out.add(&NATIVE_RANGE, values.place(NATIVE), what);
    }
}

fn missing(range: &IpNet, reached: &Reached<'_>) -> String {
    let of = |(role, pods): &(&str, &Option<Pods>)| {
        let outside = pods.as_ref()?.outside(range)?;
        let owner = if role.ends_with('s') {
            format!("{role}'")
        } else {
            format!("{role}'s")
        };
        Some(format!("{owner} pods ({outside})"))
    };
    reached.iter().filter_map(of).collect::<Vec<_>>().join(" and ")
}

fn strict(cluster: &Cluster, values: &Values<'_>, reached: &Reached<'_>, out: &mut Findings) {
    if !values.is_on("encryption.strictMode.enabled") || !values.is_on("encryption.enabled") {
        return;
    }
    let Some(range) = range(values, STRICT) else { return };
    let missing = missing(&range, reached);
    if missing.is_empty() {
        return;
    }
    let is_own = reached
        .iter()
        .any(|(role, pods)| *role == cluster.role && pods.as_ref().is_some_and(|pods| pods.outside(&range).is_some()));
    let effect = if is_own {
        "nothing is held back"
    } else {
        "what goes there is not held back"
    };
    out.add(
        &STRICT_RANGE,
        values.place(STRICT),
        format!("{STRICT} {range} does not cover {missing}: {effect}"),
    );
}

fn overlap(cluster: &Cluster, other: &Cluster, own: Option<&Pods>, theirs: Option<&Pods>, out: &mut Findings) {
    let (Some(Pods::Stated(ours, place)), Some(Pods::Stated(theirs, _))) = (own, theirs) else {
        return;
    };
    let pair = ours
        .iter()
        .find_map(|a| theirs.iter().find(|b| meet(a, b)).map(|b| (a, b)));
    if let Some((a, b)) = pair {
        let what = format!(
            "pods of {} ({a}) and of {} ({b}) have addresses of one range",
            cluster.role, other.role
        );
        out.add(&PODS_OVERLAP, *place, what);
    }
}

fn services_overlap(context: &Context<'_>, cluster: &Cluster, other: &Cluster, out: &mut Findings) {
    let (ours, theirs) = (
        machine(context, cluster, Network::Services),
        machine(context, other, Network::Services),
    );
    let (Some((ours, place)), Some((theirs, _))) = (ours, theirs) else {
        return;
    };
    if let Some(range) = ours.iter().find(|a| theirs.iter().any(|b| meet(a, b))) {
        let what = format!(
            "services of {} and of {} have addresses of {range}",
            cluster.role, other.role
        );
        out.add(&SERVICES_OVERLAP, place, what);
    }
}

/// What is known of the pods of a cluster.
fn pods(context: &Context<'_>, cluster: &Cluster, values: &Values<'_>) -> Option<Pods> {
    const POOL: &str = "ipam.operator.clusterPoolIPv4PodCIDRList";
    let is_complete = cluster.set().is_some_and(|set| set.is_complete);
    let stated = match values.text("ipam.mode")?.as_str() {
        "cluster-pool" if is_complete => {
            let ranges = values.text(POOL)?;
            // The default is one range for all clusters of the world.
            Some((
                ranges
                    .split([' ', ','])
                    .filter_map(|range| range.parse().ok())
                    .collect(),
                values.place(POOL),
            ))
        }
        "kubernetes" => machine(context, cluster, Network::Pods),
        _ => None,
    };
    let is_native = values.text("routingMode").as_deref() == Some("native");
    stated
        .map(|(ranges, place)| Pods::Stated(ranges, place))
        .or_else(|| range(values, NATIVE).filter(|_| is_native).map(Pods::Within))
}

enum Network {
    Pods,
    Services,
}

/// The ranges that the machines' configuration states: Talos, kubeadm or kind.
fn machine(context: &Context<'_>, cluster: &Cluster, network: Network) -> Option<(Vec<IpNet>, Place)> {
    let (many, one) = match network {
        Network::Pods => ("podSubnets", "podSubnet"),
        Network::Services => ("serviceSubnets", "serviceSubnet"),
    };
    let of_cluster = |file| context.layout.members.roles(file).contains(&cluster.role);
    context
        .sources
        .documents
        .iter()
        .filter(|document| of_cluster(document.file()))
        .find_map(|document| {
            let node = match document.kind.as_str() {
                "MachineConfig" => document.node.dig(&["cluster", "network", many]),
                "ClusterConfiguration" => document.node.dig(&["networking", one]),
                "Cluster" if document.group() == "kind.x-k8s.io" => document.node.dig(&["networking", one]),
                _ => None,
            }?;
            let texts = node.items().iter().filter_map(Node::text).chain(node.text());
            let ranges: Vec<IpNet> = texts
                .flat_map(|text| text.split(','))
                .filter_map(|text| text.trim().parse().ok())
                .collect();
            let ranges: Vec<_> = ranges.into_iter().filter(|range| range.addr().is_ipv4()).collect();
            (!ranges.is_empty()).then_some((ranges, node.place))
        })
}
