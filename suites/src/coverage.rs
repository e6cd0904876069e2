//! docs/coverage.md: what operators claim of such clusters, area by area, which checks verify it, and what none does.

use crate::ALL;
use meshproof_contract::Check;
use std::{collections::BTreeSet, fmt::Write};

/// An area of claims.
struct Area {
    name: &'static str,
    claimed: &'static str,
    /// Ids of checks, or how they begin.
    checks: &'static [&'static str],
    /// What is not verified, and why or by what else.
    open: &'static [&'static str],
}

/// Commands that verify parts of an area beside the checks.
const NO_SUITE: &str = "no check yet";

const AREAS: &[Area] = &[
    Area {
        name: "CNI",
        claimed: "kube-proxy replacement, routing mode, Kubernetes IPAM, endpoint routes, masquerading, kernels",
        checks: &[
            "connectivity::",
            "components::kube_proxy",
            "components::nodes",
            "components::removed_nodes",
            "components::api_server",
            "components::clocks",
            "components::namespaces",
            "service::replacement_in_force",
            "state::",
        ],
        open: &[],
    },
    Area {
        name: "Load balancing",
        claimed: "Maglev, DSR, session affinity, NodePort, LoadBalancer pool, L2 announcements, BGP",
        checks: &[
            "service::availability",
            "service::cluster_ip",
            "service::from_host_network",
            "service::hairpin",
            "service::host_port",
            "service::load_balancer_address",
            "service::node_port",
            "service::session_affinity",
            "service::several_ports",
            "service::traffic_policy_local",
            "service::udp_",
            "service::unready_backend",
        ],
        open: &[
            "Pools of LB IPAM, Leases of L2 announcements, sessions of BGP: no check yet. `claims check` reads their \
             objects, and `service::load_balancer_address` the addresses that were given.",
            "Maglev: `gitops::claims` compares the setting; that one five-tuple has one backend from every node is not \
             measured.",
        ],
    },
    Area {
        name: "Cluster Mesh",
        claimed: "clusters connected both ways, clustermesh-apiserver, nodes and services of the others known",
        checks: &["mesh::", "components::certificates"],
        open: &[],
    },
    Area {
        name: "Global services",
        claimed: "`service.cilium.io/global`, shared, affinity, the platform's Services",
        checks: &[
            "service::affinity_",
            "service::annotation_change",
            "service::global_",
            "service::remote_backends_only",
            "service::unannotated_not_merged",
            "service::unshared_stays_home",
            "flows::",
        ],
        open: &[],
    },
    Area {
        name: "Encryption",
        claimed: "WireGuard or IPsec between pods, node encryption, strict mode",
        checks: &["encryption::"],
        open: &[],
    },
    Area {
        name: "Workload identity",
        claimed: "SPIRE server and agents, mutual authentication, SPIFFE ids",
        checks: &["policy::authentication_", "components::workloads"],
        open: &["Entries of identities, SPIFFE ids and the age of SVIDs: no check yet."],
    },
    Area {
        name: "Policy",
        claimed: "L3, L4 and L7, FQDN, entities, CIDR, default deny, deny rules, cluster-wide policies, host firewall",
        checks: &["policy::", "state::endpoints"],
        open: &[],
    },
    Area {
        name: "DNS",
        claimed: "cluster DNS, the DNS proxy",
        checks: &["dns::", "policy::fqdn", "policy::dns_names"],
        open: &[],
    },
    Area {
        name: "Ingress",
        claimed: "Gateway API, Cilium Ingress, Traefik",
        checks: &[],
        open: &[
            "Gateways, routes and Ingresses: no check yet. Write their hosts down as flows (https): `flows::allowed` \
             then asks them, and judges status, body and certificate. `init` proposes a flow for each Gateway host.",
        ],
    },
    Area {
        name: "Bandwidth manager",
        claimed: "EDT with fair queueing, BBR",
        checks: &["connectivity::throughput_"],
        open: &["The limit of a pod is not measured; `gitops::claims` compares the settings."],
    },
    Area {
        name: "Observability",
        claimed: "Hubble with relay and UI, metrics, ServiceMonitors, traces",
        checks: &[
            "components::hubble_relay",
            "components::workloads",
            "connectivity::host_to_other_",
        ],
        open: &["Flows of own probes, metrics, ServiceMonitors and traces: no check yet."],
    },
    Area {
        name: "Failover",
        claimed: "pods, nodes, agents, clustermesh-apiserver and a cluster may fail",
        checks: &["failover::"],
        open: &["During somebody else's work: `meshproof watch`."],
    },
    Area {
        name: "Service levels",
        claimed: "availability, latency, overhead between clusters",
        checks: &[
            "connectivity::cross_cluster_overhead",
            "connectivity::round_trips_",
            "dns::latency",
            "flows::allowed",
            "mesh::change_propagates",
            "policy::takes_effect",
            "service::availability",
        ],
        open: &[],
    },
    Area {
        name: "No sidecars, overhead",
        claimed: "every pod runs only its own containers, budgets of the components",
        checks: &[
            "components::own_containers",
            "components::other_meshes",
            "components::restarts",
        ],
        open: &["CPU and memory against the budgets: no check yet."],
    },
    Area {
        name: "GitOps",
        claimed: "Flux ready, versions pinned, no drift",
        checks: &["gitops::", "components::versions"],
        open: &["Before anything is installed: `meshproof claims check`."],
    },
    Area {
        name: "Upgrades",
        claimed: "pre-checks, rollout, rollback",
        checks: &[
            "components::api_extensions",
            "components::crds",
            "components::leases",
            "components::versions",
            "gitops::versions",
        ],
        open: &["The way through: `ci/upgrade.sh`, `meshproof watch` and `meshproof gate` (docs/upgrade-gate.md)."],
    },
    Area {
        name: "Hybrid variants",
        claimed: "an underlay such as Nebula, virtual nodes such as Liqo's, no other mesh left",
        checks: &["components::other_meshes", "connectivity::path_mtu_"],
        open: &["Pods on virtual nodes are not probed: such nodes are left out, and named."],
    },
];

/// The page.
pub fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from suites/src/coverage.rs: MESHPROOF_UPDATE=1 cargo test -p meshproof-suites -->\n\n\
         # Coverage\n\n\
         What operators claim of two clusters in one mesh, and what verifies it. Each check was proved able to fail by \
         its faults in the lab (docs/prove.md, docs/suites). The suites connectivity, dns, mesh, service, encryption, \
         policy and failover have run on real clusters with Cilium 1.18.3; their newer checks and the other suites \
         have run in the lab only, where Cilium is emulated and its outputs are those of 1.18.3.\n\n\
         | area | claimed | checks | faults | not verified, or by what else |\n| --- | --- | --- | --- | --- |\n",
    );
    for area in AREAS {
        let (checks, faults) = (ids(area), faults(area));
        let named: Vec<String> = checks.iter().map(|id| format!("`{id}`")).collect();
        let named = if named.is_empty() {
            NO_SUITE.to_owned()
        } else {
            format!("{}: {}", named.len(), named.join(", "))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {named} | {} | {} |",
            area.name,
            area.claimed,
            faults.len(),
            area.open.join(" ")
        );
    }
    text
}

fn all() -> impl Iterator<Item = &'static dyn Check> {
    ALL.iter().flat_map(|suite| suite.checks.iter().copied())
}

fn is_of(area: &Area, check: &dyn Check) -> bool {
    area.checks.iter().any(|part| check.id().as_str().starts_with(part))
}

fn ids(area: &Area) -> Vec<String> {
    all()
        .filter(|check| is_of(area, *check))
        .map(|check| check.id().to_string())
        .collect()
}

fn faults(area: &Area) -> BTreeSet<&'static str> {
    all()
        .filter(|check| is_of(area, *check))
        .flat_map(|check| check.faults().iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    #[test]
    fn every_check_belongs_to_an_area_and_every_area_names_checks_that_are_there() {
        for check in all() {
            assert!(
                AREAS.iter().any(|area| is_of(area, check)),
                "{} is in no area",
                check.id()
            );
        }
        for area in AREAS {
            assert!(
                !area.checks.is_empty() || !area.open.is_empty(),
                "{} says nothing",
                area.name
            );
            for part in area.checks {
                assert!(
                    all().any(|check| check.id().as_str().starts_with(part)),
                    "{}: no check is {part}",
                    area.name
                );
            }
        }
    }

    #[test]
    fn the_committed_page_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coverage.md");
        if std::env::var_os("MESHPROOF_UPDATE").is_some() {
            fs::write(&path, page()).expect("docs/coverage.md can be written");
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/coverage.md is out of date: MESHPROOF_UPDATE=1 cargo test -p meshproof-suites"
        );
    }
}
