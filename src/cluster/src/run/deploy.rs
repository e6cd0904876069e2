//! Bringing scenarios up: objects applied, agents ready and connected, and what checks need to know about them.

use super::{DeployError, Run};
use crate::{
    agent::{self, AgentLink},
    api::Operation,
    discover::{
        Discovery,
        dns::{self, ResolvConf},
    },
    environment::{ClusterEnvironment, disturbance::Disruptive},
    home::Homes,
    member::{Member, dynamic_name},
    name::{FIELD_MANAGER, home_of},
    object::{Image, Maker, workload_name},
    readiness::{
        self, Census, Expected, Number, ReadyPod,
        endpoints::{self, Wanted},
    },
};
use futures::future::try_join_all;
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use meshproof_contract::{
    ClusterFacts, ClusterName, EnvironmentError, Facts, ServiceFacts,
    facts::{MissingAgent, PodNetwork},
};
use meshproof_scenario::{Placement, Scenario};
use meshproof_wire::Hello;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How scenarios are deployed.
#[derive(Clone, Debug)]
pub struct DeployOptions {
    /// The agents' image.
    pub image: Image,
    /// How long agents may take to become ready, in all; none: as long as one after another gets on, 10 minutes at most.
    pub ready_within: Option<Duration>,
    /// What checks may disturb.
    pub disruptive: Disruptive,
}

/// What one cluster came to.
struct Deployed {
    ready: Vec<ReadyPod>,
    missing: Vec<MissingAgent>,
    services: Vec<ServiceFacts>,
}

impl Run {
    /// Deploys the scenarios to all clusters at once and connects to their agents.
    ///
    /// Agents that do not come are left out and named in [`Facts::missing_agents`]; only a cluster without any is an error.
    pub async fn deploy(
        &self,
        discovery: Discovery,
        scenarios: &[Scenario],
        options: &DeployOptions,
    ) -> Result<Arc<ClusterEnvironment>, DeployError> {
        let members = self.contexts.members();
        check(scenarios, members)?;
        let deployed = try_join_all(members.iter().map(|member| {
            let cluster = discovery.clusters.iter().find(|c| &c.name == member.name());
            let homes = discovery.homes.get(member.name());
            self.deploy_to(member, cluster, homes, scenarios, options)
        }))
        .await?;

        let links = members.iter().zip(&deployed).flat_map(|(member, one)| {
            let pods = one.ready.iter().cloned();
            pods.map(|pod| Arc::new(AgentLink::new(member.clone(), pod)))
        });
        let mut facts = Facts {
            clusters: discovery.clusters,
            claims: discovery.claims,
            thresholds: discovery.thresholds,
            outside: discovery.outside,
            generation: discovery.generation,
            consent: options.disruptive.consent,
            stream_spacing_ms: options.disruptive.stream_spacing_ms,
            ..Facts::default()
        };
        let mut agents = BTreeMap::new();
        let mut told: BTreeMap<ClusterName, (PodNetwork, ResolvConf)> = BTreeMap::new();
        for (link, hello) in agent::connect_all(links.collect(), &self.progress).await {
            match hello {
                Ok(hello) => {
                    facts.agents.push(link.facts());
                    keep_resolv_conf(&mut told, &link, hello);
                    agents.insert(link.id().clone(), link);
                }
                // An image of another version is wrong for all of them.
                Err(error @ EnvironmentError::Version { .. }) => return Err(error.into()),
                Err(error) => facts.missing_agents.push(unconnected(&link, &error)),
            }
        }
        facts.agents.sort_by(|a, b| a.id.cmp(&b.id));
        for one in deployed {
            facts.missing_agents.extend(one.missing);
            facts.services.extend(one.services);
        }
        require_some(&facts, members, scenarios, &options.image)?;
        let found = try_join_all(members.iter().map(|member| async {
            match told.get(member.name()) {
                Some((_, resolv)) => dns::find(member, resolv, &self.progress).await,
                None => Ok(None),
            }
        }))
        .await?;
        for (cluster, dns) in facts.clusters.iter_mut().zip(found) {
            cluster.dns = dns;
        }
        let environment = ClusterEnvironment::new(
            self.id.clone(),
            members,
            agents,
            discovery.cilium_namespaces,
            options.disruptive.clone(),
        );
        environment.complete_versions(&mut facts).await;
        Ok(Arc::new(environment.with_facts(facts)))
    }

    async fn deploy_to(
        &self,
        member: &Member,
        cluster: Option<&ClusterFacts>,
        homes: Option<&Homes>,
        scenarios: &[Scenario],
        options: &DeployOptions,
    ) -> Result<Deployed, DeployError> {
        let maker = Maker {
            run: &self.id,
            cluster: member.name(),
            image: &options.image,
            homes,
        };
        let (mut objects, mut services, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        let mut accounts = Vec::new();
        for scenario in scenarios {
            for workload in scenario.workloads_in(member.name()) {
                accounts.extend(maker.service_account(scenario, workload));
                objects.push(maker.workload(scenario, workload));
                expected.push(Expected {
                    scenario: scenario.name.clone(),
                    workload: workload.name.clone(),
                    network: workload.network,
                    namespace: home_of(workload),
                    number: number(workload.placement, cluster),
                    owner: workload_name(&scenario.name, &workload.name),
                });
            }
            for service in scenario.services_in(member.name()) {
                // Validated with the scenario.
                let Some(workload) = scenario.workload(&service.workload) else {
                    continue;
                };
                services.push((scenario, service, maker.service(scenario, service, workload)));
            }
        }
        self.progress.waiting(format!(
            "{}: {} objects to apply",
            member.name(),
            objects.len() + services.len()
        ));
        let applied = try_join_all(services.into_iter().map(|(scenario, service, object)| async move {
            let applied = apply(member, object).await?;
            Ok::<_, crate::ApiError>(service_facts(member.name(), scenario, service, &applied))
        }));
        // Pods are not admitted without their account.
        try_join_all(accounts.into_iter().map(|account| apply(member, account))).await?;
        let (services, _) = tokio::try_join!(applied, try_join_all(objects.into_iter().map(|o| apply(member, o))))?;
        let dead = cluster.into_iter().flat_map(|c| &c.nodes).filter(|n| !n.ready);
        let census = Census::new(member.name().clone(), expected).without(dead.map(|n| n.name.clone()).collect());
        let readiness = readiness::wait(member, &self.id, census, options.ready_within, &self.progress).await?;
        let wanted = services.iter().map(|service| endpoints_of(service, &readiness.ready));
        endpoints::wait(member, &wanted.collect::<Vec<_>>(), &self.progress).await;
        Ok(Deployed {
            ready: readiness.ready,
            missing: readiness.missing,
            services,
        })
    }
}

/// What contradicts among scenarios, before anything is applied.
fn check(scenarios: &[Scenario], members: &[Member]) -> Result<(), DeployError> {
    for scenario in scenarios {
        if let Some(unknown) = scenario
            .clusters_named()
            .into_iter()
            .find(|name| !members.iter().any(|m| m.name() == *name))
        {
            return Err(DeployError::UnknownCluster {
                scenario: scenario.name.clone(),
                cluster: unknown.to_string(),
                known: members.iter().map(|m| m.name().to_string()).collect(),
            });
        }
    }
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for scenario in scenarios {
        let services = scenario.services.iter().map(|s| format!("a service {}", s.name));
        let hosts = scenario.workloads.iter().filter_map(|w| match w.network {
            PodNetwork::Pod => None,
            PodNetwork::Host => Some("a workload in the node's network".to_owned()),
            PodNetwork::HostCapture => Some("a workload that captures".to_owned()),
        });
        let itself = std::iter::once(format!("the name {}", scenario.name));
        for what in services.chain(hosts).chain(itself) {
            if let Some(first) = owners.insert(what.clone(), &scenario.name) {
                return Err(DeployError::Collision {
                    first: first.to_owned(),
                    second: scenario.name.clone(),
                    what,
                });
            }
        }
    }
    Ok(())
}

fn number(placement: Placement, cluster: Option<&ClusterFacts>) -> Number {
    match (placement, cluster.map(|c| &c.nodes)) {
        (Placement::Replicas(n), _) => Number::Replicas(n),
        (Placement::EveryNode, Some(nodes)) if !nodes.is_empty() => {
            Number::Nodes(nodes.iter().map(|n| (n.name.clone(), n.ready)).collect())
        }
        (Placement::EveryNode, _) => Number::EveryNode,
    }
}

pub(crate) async fn apply(member: &Member, object: Value) -> Result<DynamicObject, crate::ApiError> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let within = Some(namespace.as_str()).filter(|ns| !ns.is_empty());
    let (api, resource, _) = member
        .dynamic(&GroupVersionKind::gvk(group, version, &kind), within)
        .await?;
    let operation = Operation {
        namespace: within.map(str::to_owned),
        ..Operation::on("patch", dynamic_name(&resource.plural, &resource.group)).named(&name)
    };
    let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&object));
    member.call_again(operation, || api.patch(&name, &params, &patch)).await
}

fn service_facts(
    cluster: &ClusterName,
    scenario: &Scenario,
    service: &meshproof_scenario::Service,
    applied: &DynamicObject,
) -> ServiceFacts {
    let address = applied.data.pointer("/spec/clusterIP").and_then(Value::as_str);
    ServiceFacts {
        cluster: cluster.clone(),
        scenario: scenario.name.clone(),
        namespace: applied.metadata.namespace.clone().unwrap_or_default(),
        name: service.name.clone(),
        // "None" for a headless one.
        address: address.and_then(|a| a.parse().ok()),
        ports: service.ports.iter().map(|p| (p.name.clone(), p.port)).collect(),
        workload: service.workload.clone(),
    }
}

fn endpoints_of(service: &ServiceFacts, ready: &[ReadyPod]) -> Wanted {
    let behind = ready
        .iter()
        .filter(|pod| pod.scenario == service.scenario && pod.workload == service.workload);
    Wanted {
        namespace: service.namespace.clone(),
        service: service.name.clone(),
        pods: behind.map(|pod| pod.name.clone()).collect(),
    }
}

fn unconnected(link: &AgentLink, error: &EnvironmentError) -> MissingAgent {
    MissingAgent {
        cluster: link.id().cluster.clone(),
        node: Some(link.pod().node.clone()),
        workload: link.pod().workload.clone(),
        state: error.to_string(),
    }
}

/// What pods on the pod network are told goes before what those of the node are.
fn keep_resolv_conf(told: &mut BTreeMap<ClusterName, (PodNetwork, ResolvConf)>, link: &AgentLink, hello: Hello) {
    let network = link.pod().network;
    let known = told.get(&link.id().cluster).map(|(network, _)| *network);
    if known.is_none() || (known != Some(PodNetwork::Pod) && network == PodNetwork::Pod) {
        let resolv = ResolvConf {
            nameservers: hello.nameservers,
            search: hello.search,
        };
        told.insert(link.id().cluster.clone(), (network, resolv));
    }
}

fn require_some(facts: &Facts, members: &[Member], scenarios: &[Scenario], image: &Image) -> Result<(), DeployError> {
    for member in members {
        let cluster = member.name();
        let wanted = scenarios.iter().any(|s| s.workloads_in(cluster).next().is_some());
        if !wanted || facts.agents.iter().any(|a| &a.id.cluster == cluster) {
            continue;
        }
        let missing: Vec<_> = facts.missing_agents.iter().filter(|m| &m.cluster == cluster).collect();
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for absent in &missing {
            *states.entry(&absent.state).or_default() += 1;
        }
        let commonest = states.into_iter().max_by_key(|(_, n)| *n);
        return Err(DeployError::NoAgents {
            cluster: cluster.clone(),
            expected: missing.len(),
            state: commonest.map_or_else(|| "no pod was created".to_owned(), |(s, n)| format!("{n} times {s}")),
            image: image.reference.clone(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_scenario::parse;

    fn scenario(text: &str) -> Scenario {
        parse("own.yaml", text).expect("resolves")
    }

    #[test]
    fn scenarios_that_cannot_share_a_cluster_are_refused() {
        let a = scenario(
            "name: a\nworkloads: [{name: w, placement: every-node}]\nservices: [{name: s, workload: w, ports: [{name: p, port: 1}]}]\n",
        );
        let b = scenario(
            "name: b\nworkloads: [{name: w, placement: every-node}]\nservices: [{name: s, workload: w, ports: [{name: p, port: 1}]}]\n",
        );
        let error = check(&[a.clone(), b], &[]).expect_err("both have s").to_string();
        assert_eq!(
            error,
            "scenarios a and b cannot be deployed together: both have a service s"
        );
        assert!(check(&[a], &[]).is_ok());
    }

    #[test]
    fn a_scenario_for_a_cluster_that_is_not_there_is_refused() {
        let a = scenario("name: a\nworkloads: [{name: w, placement: every-node, clusters: [edge]}]\n");
        let error = check(&[a], &[]).expect_err("no edge").to_string();
        assert!(error.contains("edge"), "{error}");
    }
}
