//! Deploying scenarios: objects applied, agents ready and connected, and what checks need to know about them.

mod conflicts;
mod facts;

use super::{DeployError, Run};
use crate::{
    agent::{self, AgentLink},
    client::ClusterClient,
    discover::{
        Discovery,
        dns::{self, ResolvConf},
    },
    environment::{ClusterEnvironment, disruption::DisruptionOptions},
    house,
    manifest::{Image, ManifestBuilder, workload_name},
    name::{operators_namespace, workload_namespace},
    node_watch::{self, TakenNodes},
    readiness::{self, Census, Expected, Number, ReadyPod, endpoints},
    schedulable::SchedulableNodes,
};
use facts::{endpoints_of, keep_resolv_conf, probe_pods, require_some, service_facts, unconnected};
use futures::future::try_join_all;
use meshproof_contract::{
    AgentId, ClusterFacts, ClusterName, EnvironmentError, Facts, HouseRule, NodeName, ServiceFacts,
    facts::{MissingAgent, PodNetwork},
    text::counted,
};
use meshproof_scenario::{Placement, Role, Scenario};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How scenarios are deployed.
#[derive(Clone, Debug)]
pub struct DeployOptions {
    /// The agents' image.
    pub image: Image,
    /// How long agents may take to become ready, in all; none: as long as one after another gets on, 10 minutes at
    /// most.
    pub ready_within: Option<Duration>,
    /// Which disruptions checks may cause.
    pub disruption: DisruptionOptions,
}

/// The deployment on one cluster.
struct Deployed {
    house: Vec<HouseRule>,
    ready: Vec<ReadyPod>,
    missing: Vec<MissingAgent>,
    services: Vec<ServiceFacts>,
}

impl Run {
    /// Deploys the scenarios to all clusters at once and connects to their agents.
    ///
    /// Agents that do not become ready are left out and named in [`Facts::missing_agents`]; only a cluster without any
    /// is an error.
    pub async fn deploy(
        &self,
        discovery: Discovery,
        scenarios: &[Scenario],
        options: &DeployOptions,
    ) -> Result<Arc<ClusterEnvironment>, DeployError> {
        let clients = self.contexts.clients();
        conflicts::check(scenarios, clients)?;
        let taken = TakenNodes::default();
        let watches = clients.iter().map(|client| {
            let found = discovery.clusters.iter().find(|cluster| &cluster.name == client.name());
            let nodes = found.into_iter().flat_map(|cluster| &cluster.nodes);
            let nodes = nodes.map(|node| node.name.clone()).collect();
            node_watch::watch(client, nodes, taken.clone(), self.progress.clone())
        });
        let watches = watches.collect();
        let deployed = try_join_all(clients.iter().map(|client| {
            let cluster = discovery.clusters.iter().find(|c| &c.name == client.name());
            let schedulable = discovery.schedulable.get(client.name());
            let foreign = discovery.foreign_nodes.iter().filter(|n| &n.cluster == client.name());
            let foreign = foreign.map(|n| n.node.clone()).collect();
            self.deploy_to(client, cluster, (schedulable, foreign), scenarios, options)
        }))
        .await?;

        let links = clients.iter().zip(&deployed).flat_map(|(client, one)| {
            let pods = one.ready.iter().cloned();
            pods.map(|pod| Arc::new(AgentLink::new(client.clone(), pod)))
        });
        let mut silent: BTreeMap<AgentId, EnvironmentError> = BTreeMap::new();
        // A pod that plays two workloads is connected once.
        let mut known = BTreeSet::new();
        let (links, others): (Vec<_>, Vec<_>) = links.partition(|link| known.insert(link.id().clone()));
        let mut facts = Facts {
            clusters: discovery.clusters,
            claims: discovery.claims,
            git: discovery.git,
            thresholds: discovery.thresholds,
            outside: discovery.outside,
            flows: discovery.flows,
            generation: discovery.generation,
            foreign_nodes: discovery.foreign_nodes.clone(),
            consent: options.disruption.consent,
            stream_spacing_ms: options.disruption.stream_spacing_ms,
            mesh_outage_seconds: options.disruption.mesh_outage_seconds,
            ..Facts::default()
        };
        let mut agents = BTreeMap::new();
        let (asked, links): (Vec<_>, Vec<_>) = links.into_iter().partition(|link| only_answers(link.pod(), scenarios));
        for link in asked {
            facts.agents.push(link.facts());
            agents.insert(link.id().clone(), link);
        }
        let mut resolv_confs: BTreeMap<ClusterName, (PodNetwork, ResolvConf)> = BTreeMap::new();
        for (link, hello) in agent::connect_all(links, &self.progress).await {
            match hello {
                Ok(hello) => {
                    facts.agents.push(link.facts());
                    keep_resolv_conf(&mut resolv_confs, &link, hello);
                    agents.insert(link.id().clone(), link);
                }
                // An image of another version is wrong for all agents.
                Err(error @ EnvironmentError::Version { .. }) => return Err(error.into()),
                Err(error) => {
                    facts.missing_agents.push(unconnected(&link, &error));
                    silent.insert(link.id().clone(), error);
                }
            }
        }
        for link in others {
            match silent.get(link.id()) {
                None => facts.agents.push(link.facts()),
                Some(error) => facts.missing_agents.push(unconnected(&link, error)),
            }
        }
        facts.agents.sort_by(|a, b| a.id.cmp(&b.id));
        for one in deployed {
            facts.missing_agents.extend(one.missing);
            facts.services.extend(one.services);
            facts.house.extend(one.house);
        }
        require_some(&facts, clients, scenarios, &options.image)?;
        let found = try_join_all(clients.iter().map(|client| async {
            match resolv_confs.get(client.name()) {
                Some((_, resolv)) => dns::find(client, resolv, &self.progress).await,
                None => Ok(None),
            }
        }))
        .await?;
        for (cluster, dns) in facts.clusters.iter_mut().zip(found) {
            cluster.dns = dns;
        }
        let environment = ClusterEnvironment::new(
            self.id.clone(),
            clients,
            agents,
            discovery.cilium,
            options.disruption.clone(),
            (taken, watches),
        );
        environment.complete_versions(&mut facts).await;
        Ok(Arc::new(environment.with_facts(facts)))
    }

    async fn deploy_to(
        &self,
        client: &ClusterClient,
        cluster: Option<&ClusterFacts>,
        (schedulable, foreign): (Option<&SchedulableNodes>, Vec<NodeName>),
        scenarios: &[Scenario],
        options: &DeployOptions,
    ) -> Result<Deployed, DeployError> {
        let manifests = ManifestBuilder {
            run: &self.id,
            cluster: client.name(),
            image: &options.image,
            schedulable,
            foreign: &foreign,
        };
        let visited: BTreeSet<&str> = scenarios
            .iter()
            .flat_map(|scenario| scenario.workloads_in(client.name()))
            .filter_map(operators_namespace)
            .collect();
        for namespace in visited {
            self.visit(client, namespace).await?;
        }
        let (mut objects, mut services, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        let (mut accounts, mut visitors) = (Vec::new(), Vec::new());
        for scenario in scenarios {
            for workload in scenario.workloads_in(client.name()) {
                let player = workload.played_by(scenarios);
                let visits = operators_namespace(workload).is_some();
                if player.is_none() && !visits {
                    accounts.extend(manifests.service_account(scenario, workload));
                    objects.push(manifests.workload(scenario, workload));
                }
                let (by, with) = player.unwrap_or((scenario, workload));
                let expects = Expected {
                    scenario: scenario.name.clone(),
                    workload: workload.name.clone(),
                    labels: (by.name.clone(), with.name.clone()),
                    network: workload.network,
                    namespace: workload_namespace(workload).to_owned(),
                    number: number(workload.placement, cluster),
                    owner: workload_name(&by.name, &with.name),
                };
                match visits {
                    true => visitors.push((manifests.workload(scenario, workload), expects)),
                    false => expected.push(expects),
                }
            }
            for service in scenario.services_in(client.name()) {
                // Validated with the scenario.
                let Some(workload) = scenario.workload(&service.workload) else {
                    continue;
                };
                services.push((scenario, service, manifests.service(scenario, service, workload)));
            }
        }
        self.progress.waiting(format!(
            "{}: {} to be applied",
            client.name(),
            counted(objects.len() + services.len(), "object")
        ));
        let applied = try_join_all(services.into_iter().map(|(scenario, service, object)| async move {
            let applied = client.apply(object).await?;
            Ok::<_, crate::ApiError>(service_facts(client.name(), scenario, service, &applied))
        }));
        // Pods are not admitted without their account, and are best allowed before they run.
        if let Some(credentials) = &options.image.credentials {
            credentials.apply(client, &self.id).await?;
        }
        let accounts = try_join_all(accounts.into_iter().map(|account| client.apply(account)));
        let allow = house::allow(client, manifests.allow_policies(scenarios), &self.progress);
        let (accounts, allowed) = tokio::join!(accounts, allow);
        accounts?;
        let (services, _) = tokio::try_join!(applied, try_join_all(objects.into_iter().map(|o| client.apply(o))))?;
        // A namespace that is not there, or that refuses them, keeps the others from nothing.
        let mut refused = Vec::new();
        for (object, expects) in visitors {
            match client.apply(object).await {
                Ok(_) => expected.push(expects),
                Err(error) => refused.push(MissingAgent {
                    cluster: client.name().clone(),
                    node: None,
                    workload: expects.workload,
                    state: error.to_string(),
                }),
            }
        }
        let not_ready = cluster.into_iter().flat_map(|c| &c.nodes).filter(|n| !n.ready);
        let census = Census::new(client.name().clone(), expected)
            .with_nodes_not_ready(not_ready.map(|n| n.name.clone()).collect());
        let readiness = readiness::wait(client, &self.id, census, options.ready_within, &self.progress).await?;
        let wanted = services.iter().map(|service| endpoints_of(service, &readiness.ready));
        let wanted: Vec<_> = wanted.collect();
        let pods = probe_pods(&manifests, scenarios, cluster);
        let house = house::rules(client, cluster, &pods, &allowed);
        let (house, ()) = tokio::join!(house, endpoints::wait(client, &wanted, &self.progress));
        Ok(Deployed {
            house,
            ready: readiness.ready,
            missing: [readiness.missing, refused].concat(),
            services,
        })
    }
}

fn only_answers(pod: &ReadyPod, scenarios: &[Scenario]) -> bool {
    let scenario = scenarios.iter().find(|scenario| scenario.name == pod.scenario);
    let workload = scenario.and_then(|scenario| scenario.workload(&pod.workload));
    workload.is_some_and(|workload| workload.role == Role::Answers)
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
