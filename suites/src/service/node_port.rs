//! A NodePort is served at every node's address, to whoever comes from outside of the cluster.

use super::ask::{Answers, ask_until, is_pod};
use super::side::Side;
use super::steady::while_steady;
use super::{NEEDS, POLL, changed_within};
use crate::kit::cilium::nodes::place;
use crate::kit::{next_steps, unique_name};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::facts::NodeFacts;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClaimKind, ClusterName, Needs, ObjectRef, Outcome, Scope,
    ServiceFacts, Tally, Target, Verdict,
};
use serde_json::{Value, json};

/// NodePorts of one cluster, asked for by pods of the other.
pub struct NodePort;

#[async_trait]
impl Check for NodePort {
    fn id(&self) -> CheckId {
        CheckId::from("service::node_port")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A NodePort is served at the address of every node",
            proves: "Whoever reaches a node of the cluster reaches its services: each node takes what comes from outside to a pod behind the service, on whichever node that is, and the answer back.",
            how: "A Service of type NodePort with a name drawn at random is created before the pods `backend` of one cluster. The client on every node of the other cluster, which knows nothing of it and so translates nothing by itself, sends GETs to the port at every node's address, until 12 of 12 are answered by those pods twice in a row, \
                  within `propagation` of the thresholds (10 s by default). Then the Service is deleted.",
            control: "The identity in each answer. If not one request is answered at any node and none is refused either, a firewall between the clusters may be what is in the way, and the result is inconclusive.",
            when_red: "One node: `cilium-dbg status` there, does KubeProxyReplacement name the device with the node's address? `cilium-dbg bpf lb list` and `iptables -S` on the node. One client: its node's way to the other cluster's nodes, see connectivity::pod_to_host_other_cluster.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::KubeProxyReplacement),
            mutates: true,
            ..NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["node-port-missing"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let (near, far) = (Side::of(context, from)?, Side::of(context, to)?);
    let backends = far.pods("backend")?;
    let plain = far.service("svc-plain")?;
    let reference = |name: &str| ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: Some(plain.namespace.clone()),
        name: name.to_owned(),
    };
    let object = context.environment.get(to, &reference(&plain.name)).await;
    let object = object.map_err(|error| Verdict::inconclusive(error.to_string()))?;
    let selector = object.and_then(|service| service.pointer("/spec/selector").cloned());
    let Some(selector) = selector.filter(Value::is_object) else {
        return Err(Verdict::inconclusive(format!(
            "service `svc-plain` in {to} has no selector, so its pods cannot be put behind another service"
        )));
    };
    let name = unique_name::label("node-port");
    let created = context.environment.apply(to, manifest(plain, &name, &selector)).await;
    let created = created.map_err(|error| {
        Verdict::inconclusive(format!(
            "the service of type NodePort could not be created in {to}: {error}"
        ))
    })?;
    let verdict = match created.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64) {
        Some(port) => look(context, (&near, &far), &backends, port as u16).await,
        None => Verdict::inconclusive(format!("the API of {to} gave the service no NodePort")),
    };
    if let Err(error) = context.environment.delete(to, &reference(&name)).await {
        context.note(format!("service {name} is left in {to} until the run's end: {error}"));
    }
    Ok(verdict)
}

fn manifest(plain: &ServiceFacts, name: &str, selector: &Value) -> Value {
    let port = meshproof_contract::port::HTTP;
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": plain.namespace},
        "spec": {
            "type": "NodePort", "selector": selector,
            "ports": [{"name": "http", "port": 80, "targetPort": port, "protocol": "TCP"}],
        },
    })
}

async fn look(context: &CheckContext, (near, far): (&Side, &Side), backends: &[AgentFacts], port: u16) -> Verdict {
    let mut tally = Tally::new();
    near.note_missing(&mut tally);
    let nodes = near.facts.cluster(&far.cluster).into_iter().flat_map(|c| &c.nodes);
    let is_backend = |answers: &Answers| {
        let mut servers = answers.servers.iter();
        servers.all(|(server, _)| backends.iter().any(|pod| is_pod(server, pod)))
    };
    let asked = nodes
        .filter_map(|node| Some((node, node.addresses.first()?)))
        .map(|(node, address)| {
            let target = Target::new(address.to_string(), port);
            async move {
                let content = |answers: &Answers| answers.is_complete() && is_backend(answers);
                let within = changed_within(context);
                let seen = ask_until(context, &near.askers, &target, POLL, within, content).await;
                (node, target, seen)
            }
        });
    let seen = join_all(asked).await;
    let unheard = |answers: &Answers| {
        let mut failures = answers.failures.iter();
        answers.answered() == 0 && failures.all(|failure| matches!(failure, Outcome::Timeout { .. }))
    };
    if seen
        .iter()
        .all(|(.., seen)| seen.as_ref().is_err_and(|last| last.iter().all(unheard)))
    {
        tally.unknown(format!(
            "not one request from {} to any NodePort of {} was answered, nor refused: a firewall may stand between",
            near.cluster, far.cluster
        ));
        return tally.verdict();
    }
    for (node, target, seen) in &seen {
        match seen {
            Ok(after) => tally.witness(format!(
                "{target} of {} answered clients on all {} nodes of {} with its own backends after {} ms",
                place(&far.cluster, &node.name),
                near.askers.len(),
                near.cluster,
                after.as_millis()
            )),
            Err(last) => {
                for answers in last {
                    tell(
                        near,
                        (&far.cluster, node),
                        target,
                        answers,
                        is_backend(answers),
                        &mut tally,
                    );
                }
            }
        }
    }
    if tally.has_findings() {
        let command = next_steps::in_agent(&far.facts, &far.cluster, None, "cilium-dbg bpf lb list");
        context.suggest(command);
    }
    tally.verdict()
}

/// What one client saw last at a node where not all were content.
fn tell(
    near: &Side,
    (cluster, node): (&ClusterName, &NodeFacts),
    target: &Target,
    answers: &Answers,
    by_backends: bool,
    tally: &mut Tally,
) {
    let from = place(&near.cluster, &answers.client.node);
    if let Some(why) = &answers.unknown {
        return tally.unknown(format!("{target} from {from}: {why}"));
    }
    let expected = "every request answered by a pod behind the service";
    let at = format!("NodePort {target} of {} from {from}", place(cluster, &node.name));
    match answers.failures.is_empty() {
        false => tally.finding(at, expected, answers.describe()),
        true if !by_backends => tally.finding(at, expected, format!("others answer: {}", answers.describe())),
        true => {}
    }
}
