//! A Service in front of peers: what load balancing sends on is judged as what it is sent to, the pod and its port, and
//! not as what was asked (semantics A41).

use super::{
    cell::{Behind, Cell, Traffic},
    fixture::Fixture,
    participant::Participant,
};
use crate::kit::{unique_name, wait};
use futures::future::join_all;
use meshproof_contract::{CheckContext, ClaimKind, ObjectRef, Target, port};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The Service's ports; the pods' are others.
const TCP: u16 = 81;
const UDP: u16 = 82;
/// Between two looks whether the nodes have it.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long they may take.
const WITHIN: Duration = Duration::from_secs(10);

/// The Service, in the cluster of the subject pods.
pub struct PeerService<'a> {
    context: &'a CheckContext,
    reference: ObjectRef,
    /// Where it is reached, TCP and UDP: its cluster IP, and what NodePorts it has.
    address: String,
    node_ports: Option<(u16, u16)>,
    backends: Vec<Arc<Participant>>,
}

impl<'a> PeerService<'a> {
    /// Creates it in front of the pods of workload `peer`, and waits until every subject pod is answered there.
    ///
    /// # Errors
    /// Why no cells lead through a Service.
    pub async fn create(context: &'a CheckContext, fixture: &Fixture) -> Result<Self, String> {
        let own = fixture.peers.iter().filter(|peer| *peer.cluster() == fixture.cluster);
        let backends: Vec<_> = own.filter(|peer| peer.agent.workload == "peer").cloned().collect();
        let name = unique_name::label("svc");
        let facts = context.environment.facts();
        let kind = match facts.claim(&fixture.cluster, ClaimKind::KubeProxyReplacement) {
            Some(_) => "NodePort",
            None => "ClusterIP",
        };
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": fixture.namespace},
            "spec": {
                "type": kind,
                "selector": {"role": "peer", "tier": "front"},
                "ports": [
                    {"name": "tcp", "port": TCP, "targetPort": port::TCP, "protocol": "TCP"},
                    {"name": "udp", "port": UDP, "targetPort": port::UDP, "protocol": "UDP"},
                ],
            },
        });
        let created = context.environment.apply(&fixture.cluster, object).await;
        let created = created.map_err(|error| format!("the Service in front of peers was not created: {error}"))?;
        let number = |at: &str| created.pointer(at)?.as_u64()?.try_into().ok();
        let node_ports = number("/spec/ports/0/nodePort").zip(number("/spec/ports/1/nodePort"));
        let address = created.pointer("/spec/clusterIP").and_then(Value::as_str);
        let service = Self {
            context,
            reference: ObjectRef::namespaced("v1", "Service", &fixture.namespace, &name),
            address: address.unwrap_or_default().to_owned(),
            node_ports,
            backends,
        };
        match service.is_served(fixture).await {
            true => Ok(service),
            false => {
                service.delete(fixture).await;
                Err(format!(
                    "a Service in front of peers is not answered from every node within {} s: see suite service",
                    WITHIN.as_secs()
                ))
            }
        }
    }

    async fn is_served(&self, fixture: &Fixture) -> bool {
        let environment = self.context.environment.as_ref();
        let waited = wait::until(WITHIN, INTERVAL, || async {
            let looks = fixture.subjects.iter().map(|subject| async {
                let cells = self.cells_of(subject);
                let probes = cells
                    .iter()
                    .map(|cell| cell.probe(crate::kit::probes::DEADLINE))
                    .collect();
                let outcomes = environment.probe(&subject.agent.id, probes).await.unwrap_or_default();
                outcomes.len() == cells.len() && outcomes.iter().all(|outcome| outcome.is_success())
            });
            match join_all(looks).await.into_iter().all(|answered| answered) {
                true => Ok(()),
                false => Err(()),
            }
        })
        .await;
        matches!(waited, wait::Waited::Seen(..))
    }

    /// From each subject pod by TCP and UDP, to the cluster IP and to its own node's NodePorts.
    pub fn cells(&self, fixture: &Fixture) -> Vec<Cell> {
        fixture
            .subjects
            .iter()
            .flat_map(|subject| self.cells_of(subject))
            .collect()
    }

    fn cells_of(&self, subject: &Arc<Participant>) -> Vec<Cell> {
        let facts = self.context.environment.facts();
        let mut nodes = facts.cluster(subject.cluster()).into_iter().flat_map(|c| &c.nodes);
        let node = nodes.find(|node| node.name == subject.agent.node);
        let node = node.and_then(|node| node.addresses.first()).map(ToString::to_string);
        let mut at = vec![(self.address.clone(), (TCP, UDP))];
        at.extend(node.zip(self.node_ports));
        // All are alike to policies; the first stands for them.
        let Some(backend) = self.backends.first() else {
            return Vec::new();
        };
        let pods: Arc<[String]> = self.backends.iter().map(|pod| pod.agent.id.pod.clone()).collect();
        let cell = |host: &str, port: u16, is_udp: bool| Cell {
            from: subject.clone(),
            to: backend.clone(),
            traffic: Traffic::Service(Behind {
                at: Target::new(host, port),
                is_udp,
                pods: pods.clone(),
            }),
        };
        at.iter()
            .flat_map(|(host, (tcp, udp))| [cell(host, *tcp, false), cell(host, *udp, true)])
            .collect()
    }

    /// Deletes it.
    pub async fn delete(&self, fixture: &Fixture) {
        if let Err(error) = self.context.environment.delete(&fixture.cluster, &self.reference).await {
            let name = &self.reference.name;
            self.context
                .note(format!("Service {name} stays until the end of the run: {error}"));
        }
    }
}
