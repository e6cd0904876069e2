//! One look at the whole mesh: the objects of every cluster's API, and what the agents have. All trials of a run share
//! it, so that each list is read once, and each agent is asked once for each fact.

use super::{
    object::{self, CiliumNode, Endpoint, Node, Pod},
    service::{Service, Slice},
};
use crate::kit::{
    once::Once,
    paths::sample,
    recent::{self, Age},
};
use futures::{FutureExt, future::BoxFuture};
use meshproof_contract::{CheckContext, CiliumAnswer, CiliumQuery, ClusterName, NodeName, Tally};
use serde_json::Value;
use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// So many nodes of a cluster are asked, all of them or a sample: each answers six questions in a look.
pub const NODES: usize = 16;

/// What is asked of every agent.
const QUERIES: [CiliumQuery; 6] = [
    CiliumQuery::Services,
    CiliumQuery::BalancerMap,
    CiliumQuery::Ipcache,
    CiliumQuery::Identities,
    CiliumQuery::Nodes,
    CiliumQuery::Configuration,
];

/// What a change may take on a healthy mesh at least, whatever its operators promise.
const LEAST_ALLOWANCE: Duration = Duration::from_secs(5);

/// What was read, or why it could not be.
pub type Read<T> = Result<T, String>;

/// How long a change may take until every agent has it.
pub fn allowance(context: &CheckContext) -> Duration {
    context.environment.facts().thresholds.propagation.max(LEAST_ALLOWANCE)
}

/// One cluster as its API and its agents show it.
pub struct ClusterLook {
    /// Pods.
    pub pods: Read<Vec<Pod>>,
    /// CiliumEndpoints.
    pub endpoints: Read<Vec<Endpoint>>,
    /// Services.
    pub services: Read<Vec<Service>>,
    /// EndpointSlices.
    pub slices: Read<Vec<Slice>>,
    /// CiliumNodes.
    pub cilium_nodes: Read<Vec<CiliumNode>>,
    /// Nodes.
    pub nodes: Read<Vec<Node>>,
    asked: Vec<NodeName>,
    answers: HashMap<CiliumQuery, Read<Vec<CiliumAnswer>>>,
}

/// All clusters at one time.
pub struct Look {
    clusters: HashMap<ClusterName, ClusterLook>,
    ended: Instant,
}

/// The looks of a run, by number.
type Looks = Once<usize, Arc<Look>>;

impl Look {
    /// The look of this number. The first trial that wants it takes it, as long after the one before as a change may
    /// take to arrive everywhere.
    pub fn take(context: &CheckContext, number: usize) -> BoxFuture<'_, Arc<Look>> {
        let taking = async move {
            let looks = context.observed.of::<Looks>();
            let not_before = match number.checked_sub(1) {
                Some(before) => Some(Self::take(context, before).await.ended + allowance(context)),
                None => None,
            };
            let read = async move || {
                if let Some(not_before) = not_before {
                    sleep_until(not_before).await;
                }
                // At first what other suites have read is good enough.
                let ages = match number {
                    0 => Ages {
                        objects: Age::STATE,
                        status: Age::OfThisRun,
                    },
                    _ => Ages {
                        objects: Age::now(),
                        status: Age::now(),
                    },
                };
                Ok::<_, Infallible>(Arc::new(Self::read(context, ages).await))
            };
            let Ok(look) = looks.get(number, read).await;
            look
        };
        taking.boxed()
    }

    async fn read(context: &CheckContext, ages: Ages) -> Self {
        let facts = context.environment.facts();
        let with_cilium = facts.clusters.iter().filter(|cluster| cluster.cilium.is_some());
        let reading =
            with_cilium.map(|cluster| async { (cluster.name.clone(), of(context, &cluster.name, ages).await) });
        let clusters = futures::future::join_all(reading).await.into_iter().collect();
        Self {
            clusters,
            ended: Instant::now(),
        }
    }

    /// A cluster.
    ///
    /// # Errors
    /// For a cluster without Cilium.
    pub fn cluster(&self, name: &ClusterName) -> Read<&ClusterLook> {
        self.clusters
            .get(name)
            .ok_or_else(|| format!("{name} has no Cilium that could be asked"))
    }
}

impl ClusterLook {
    /// What the agents that were asked printed, by node, in the cluster's order. Who did not answer goes to the tally.
    pub fn answers(&self, query: CiliumQuery, tally: &mut Tally) -> Vec<(&NodeName, &Value)> {
        let answers = match &self.answers[&query] {
            Ok(answers) => answers,
            Err(why) => {
                tally.unknown(why);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for node in &self.asked {
            match answers
                .iter()
                .find(|answer| answer.node == *node)
                .map(|answer| &answer.output)
            {
                Some(Ok(output)) => all.push((node, output)),
                Some(Err(error)) => tally.unknown(error.to_string()),
                None => tally.unknown(format!("no Cilium agent answered on node {node}")),
            }
        }
        all
    }
}

/// How old what is read may be.
#[derive(Clone, Copy)]
struct Ages {
    objects: Age,
    status: Age,
}

async fn of(context: &CheckContext, cluster: &ClusterName, ages: Ages) -> ClusterLook {
    let age = ages.objects;
    let (pods, endpoints, services, slices, cilium_nodes, nodes) = futures::join!(
        list(context, cluster, ("v1", "Pod"), age, object::pod),
        list(
            context,
            cluster,
            ("cilium.io/v2", "CiliumEndpoint"),
            age,
            object::endpoint
        ),
        list(context, cluster, ("v1", "Service"), age, Service::of),
        list(
            context,
            cluster,
            ("discovery.k8s.io/v1", "EndpointSlice"),
            age,
            Slice::of
        ),
        list(
            context,
            cluster,
            ("cilium.io/v2", "CiliumNode"),
            age,
            object::cilium_node
        ),
        list(context, cluster, ("v1", "Node"), age, object::node),
    );
    let mut asked = sample::nodes(&context.environment.facts(), cluster, NODES);
    // Where no agent has ever run, nobody can answer: that node is state::nodes' finding.
    if let Ok(known) = &cilium_nodes {
        asked.retain(|node| known.iter().any(|known| known.name == node.as_str()));
    }
    let asking = QUERIES.map(|query| {
        let asked = &asked;
        async move { (query, ask(context, cluster, query, asked).await) }
    });
    let status = recent::cilium(context, cluster, CiliumQuery::Status, ages.status);
    let (answers, status) = futures::join!(futures::future::join_all(asking), status);
    let status = status.map_err(|error| unasked(cluster, &error));
    let answers = answers.into_iter().chain([(CiliumQuery::Status, status)]).collect();
    ClusterLook {
        pods,
        endpoints,
        services,
        slices,
        cilium_nodes,
        nodes,
        asked,
        answers,
    }
}

async fn list<T>(
    context: &CheckContext,
    cluster: &ClusterName,
    kind: (&'static str, &'static str),
    age: Age,
    reduce: fn(&Value) -> T,
) -> Read<Vec<T>> {
    let objects = recent::list(context, cluster, kind, age).await;
    let objects = objects.map_err(|error| format!("the {} objects of {cluster} cannot be read: {error}", kind.1))?;
    Ok(objects.iter().map(reduce).collect())
}

async fn ask(
    context: &CheckContext,
    cluster: &ClusterName,
    query: CiliumQuery,
    nodes: &[NodeName],
) -> Read<Vec<CiliumAnswer>> {
    let answers = recent::cilium_on(context, cluster, query, nodes, Age::now()).await;
    answers.map_err(|error| unasked(cluster, &error))
}

fn unasked(cluster: &ClusterName, error: &dyn std::fmt::Display) -> String {
    format!("the Cilium agents of {cluster} could not be asked: {error}")
}
