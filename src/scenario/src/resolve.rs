//! From what is written to what is meant: names checked, references followed, defaults filled in.

use crate::{
    Clusters, Exposure, Placement, Problem, Scenario, ScenarioError, Service, ServicePort, Shared, Workload,
    file::{ClustersEntry, Network, PortEntry, ScenarioFile, ServiceEntry, WorkloadEntry},
};
use meshproof_contract::{ClusterName, facts::PodNetwork};
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeSet;

type Found<T> = Result<T, (Location, Problem)>;

pub(crate) fn resolve(path: &str, file: ScenarioFile) -> Result<Scenario, ScenarioError> {
    scenario(file).map_err(|(at, problem)| ScenarioError::invalid(path, at, problem))
}

fn scenario(file: ScenarioFile) -> Found<Scenario> {
    let name = dns_label(&file.name)?;
    if file.workloads.is_empty() {
        return Err((file.name.referenced, Problem::NoWorkloads));
    }
    unique("workload", file.workloads.iter().map(|w| &w.name))?;
    unique("service", file.services.iter().map(|s| &s.name))?;
    let workloads: Vec<Workload> = file
        .workloads
        .iter()
        .map(|entry| workload(&name, entry))
        .collect::<Found<_>>()?;
    let exposed = file.workloads.iter().filter(|w| w.exposure == Exposure::HostPort);
    if let Some(one) = exposed.clone().find(|w| w.network != Network::Pod) {
        return Err((one.name.referenced, Problem::HostPortOfHost));
    }
    if let Some(second) = exposed.clone().nth(1) {
        return Err((second.name.referenced, Problem::SecondHostPort));
    }
    for network in [Network::Host, Network::HostCapture] {
        let mut hosts = file.workloads.iter().filter(|w| w.network == network);
        if let (Some(first), Some(second)) = (hosts.next(), hosts.next()) {
            return Err((
                second.name.referenced,
                Problem::SecondHostWorkload(first.name.value.clone()),
            ));
        }
    }
    let services = file
        .services
        .iter()
        .map(|entry| service(entry, &workloads))
        .collect::<Found<_>>()?;
    Ok(Scenario {
        name,
        about: file.about,
        workloads,
        services,
    })
}

fn workload(scenario: &str, entry: &WorkloadEntry) -> Found<Workload> {
    let name = dns_label(&entry.name)?;
    // The object is named after both, and its pods get a suffix of eleven characters.
    if scenario.len() + 1 + name.len() > 63 - 11 {
        return Err((entry.name.referenced, Problem::TooLong(format!("{scenario}-{name}"))));
    }
    if entry.placement.value == Placement::Replicas(0) {
        return Err((entry.placement.referenced, Problem::NoReplicas));
    }
    for (key, value) in &entry.labels {
        if key.starts_with("meshproof.dev/") || key == "app.kubernetes.io/managed-by" {
            return Err((value.referenced, Problem::ReservedLabel(key.clone())));
        }
        if !is_label_key(key) {
            return Err((value.referenced, Problem::BadLabel(key.clone())));
        }
        if !is_label_value(&value.value) {
            return Err((value.referenced, Problem::BadLabel(value.value.clone())));
        }
    }
    Ok(Workload {
        name,
        placement: entry.placement.value,
        network: match entry.network {
            Network::Pod => PodNetwork::Pod,
            Network::Host => PodNetwork::Host,
            Network::HostCapture => PodNetwork::HostCapture,
        },
        namespace: entry.namespace,
        service_account: entry.service_account.as_ref().map(dns_label).transpose()?,
        labels: entry.labels.iter().map(|(k, v)| (k.clone(), v.value.clone())).collect(),
        allowance: entry.allowance,
        role: entry.role,
        exposure: entry.exposure,
        shares: entry.shares.as_ref().map(shared).transpose()?,
        clusters: clusters(&entry.clusters, entry.name.referenced)?,
        stand_in: None,
    })
}

fn shared(name: &Spanned<String>) -> Found<Shared> {
    match name.value.split_once('/') {
        Some((scenario, workload)) => Ok(Shared {
            scenario: scenario.to_owned(),
            workload: workload.to_owned(),
        }),
        None => Err((name.referenced, Problem::NotShared(name.value.clone()))),
    }
}

fn service(entry: &ServiceEntry, workloads: &[Workload]) -> Found<Service> {
    let name = dns_label(&entry.name)?;
    let at = entry.workload.referenced;
    let Some(behind) = workloads.iter().find(|w| w.name == entry.workload.value) else {
        return Err((
            at,
            Problem::UnknownWorkload {
                name: entry.workload.value.clone(),
                known: workloads.iter().map(|w| w.name.clone()).collect(),
            },
        ));
    };
    if entry.ports.is_empty() {
        return Err((entry.name.referenced, Problem::NoPorts));
    }
    unique("port", entry.ports.iter().filter_map(|p| p.name.as_ref()))?;
    if let Some(unnamed) = entry.ports.iter().find(|p| p.name.is_none())
        && entry.ports.len() > 1
    {
        return Err((unnamed.port.referenced, Problem::UnnamedPort));
    }
    let clusters = clusters(&entry.clusters, entry.name.referenced)?;
    if let (Clusters::Only(wanted), Clusters::Only(_)) = (&clusters, &behind.clusters)
        && let Some(cluster) = wanted.iter().find(|c| !behind.clusters.contains(c))
    {
        return Err((
            at,
            Problem::WorkloadElsewhere {
                workload: behind.name.clone(),
                cluster: cluster.to_string(),
            },
        ));
    }
    Ok(Service {
        name,
        workload: behind.name.clone(),
        kind: entry.kind,
        ports: entry.ports.iter().map(port).collect::<Found<_>>()?,
        annotations: entry.annotations.clone(),
        session_affinity: entry.session_affinity,
        clusters,
    })
}

fn port(entry: &PortEntry) -> Found<ServicePort> {
    let target = entry.target.as_ref().unwrap_or(&entry.port);
    for number in [&entry.port, target] {
        if number.value == 0 {
            return Err((number.referenced, Problem::PortZero));
        }
    }
    Ok(ServicePort {
        name: entry.name.as_ref().map(dns_label).transpose()?,
        port: entry.port.value,
        target: target.value,
        protocol: entry.protocol,
    })
}

fn clusters(entry: &ClustersEntry, owner: Location) -> Found<Clusters> {
    match entry {
        ClustersEntry::All => Ok(Clusters::All),
        ClustersEntry::Only(names) if names.is_empty() => Err((owner, Problem::NoClusters)),
        ClustersEntry::Only(names) => {
            unique("cluster", names.iter())?;
            Ok(Clusters::Only(
                names.iter().map(|n| ClusterName::new(&n.value)).collect(),
            ))
        }
    }
}

fn unique<'a>(kind: &'static str, names: impl Iterator<Item = &'a Spanned<String>>) -> Found<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(&name.value) {
            return Err((
                name.referenced,
                Problem::Duplicate {
                    kind,
                    name: name.value.clone(),
                },
            ));
        }
    }
    Ok(())
}

/// RFC 1035 labels: Services want a letter first, and the rest is no stricter.
fn dns_label(name: &Spanned<String>) -> Found<String> {
    let text = &name.value;
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-');
    if fits {
        Ok(text.clone())
    } else {
        Err((name.referenced, Problem::NotADnsLabel(text.clone())))
    }
}

fn is_label_value(text: &str) -> bool {
    let alphanumeric = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && alphanumeric(text.bytes().next())
        && alphanumeric(text.bytes().last())
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => !prefix.is_empty() && prefix.len() <= 253 && !name.is_empty() && is_label_value(name),
        None => !key.is_empty() && is_label_value(key),
    }
}
