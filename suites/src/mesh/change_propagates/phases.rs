//! The change, phase by phase: no backends anywhere, backends in the other cluster, and none again.

use super::{
    service,
    watch::{Seen, Watch, describe, give_up_after, report},
};
use crate::kit::{cilium::remotes, recent::Age};
use meshproof_contract::{AgentFacts, CheckContext, CiliumQuery, Tally, Target, Unit, port};
use serde_json::{Value, json};
use std::time::Duration;

/// The Service that changes.
pub struct Phases<'a> {
    /// The check's context.
    pub context: &'a CheckContext,
    /// The clients, one on every node of the near cluster.
    pub clients: &'a [AgentFacts],
    /// The Service's namespace.
    pub namespace: &'a str,
    /// The Service's name.
    pub name: &'a str,
}

impl Phases<'_> {
    /// Goes through all phases, until one does not come true.
    pub async fn run(&self, selector: &Value, tally: &mut Tally) {
        let (from, to) = (self.context.instance.from(), self.context.instance.to());
        let environment = self.context.environment.as_ref();
        let nothing = json!({"meshproof.dev/selects": "nothing"});
        let near = match environment.apply(from, self.manifest(&nothing)).await {
            Ok(near) => near,
            Err(error) => return tally.unknown(format!("cannot create the Service in {from}: {error}")),
        };
        let Some(address) = near.pointer("/spec/clusterIP").and_then(Value::as_str) else {
            return tally.unknown(format!("the API of {from} assigned no cluster IP to the Service"));
        };
        let watch = Watch {
            context: self.context,
            clients: self.clients,
            target: Target::new(address, port::HTTP),
        };
        if !no_answer_before(&watch, tally).await {
            return;
        }
        if let Err(error) = environment.apply(to, self.manifest(selector)).await {
            return tally.unknown(format!("cannot create the Service in {to}: {error}"));
        }
        if !self.appears(&watch, tally).await {
            return;
        }
        if let Err(error) = environment.delete(to, &service(self.namespace, self.name)).await {
            return tally.unknown(format!("cannot delete the Service in {to}: {error}"));
        }
        self.disappears(&watch, tally).await;
    }

    /// A global Service on the agents' HTTP port, the same on both sides, so that only the other side can have
    /// backends.
    fn manifest(&self, selector: &Value) -> Value {
        let annotations = json!({"service.cilium.io/global": "true"});
        let ports = json!([{"name": "http", "port": port::HTTP, "targetPort": port::HTTP, "protocol": "TCP"}]);
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace, "annotations": annotations},
            "spec": {"selector": selector, "ports": ports},
        })
    }

    /// Whether every client is answered by pods of the other cluster, in time.
    async fn appears(&self, watch: &Watch<'_>, tally: &mut Tally) -> bool {
        let (from, to) = (self.context.instance.from(), self.context.instance.to());
        let appeared = watch.until(|seen| *seen == Seen::There).await;
        match appeared {
            Ok(after) => {
                self.measure("change_seen_after", after);
                tally.witness(format!(
                    "pods of {to} answered the clients on all {} nodes of {from} {} ms after the Service was created \
                     in {to}",
                    self.clients.len(),
                    after.as_millis()
                ));
                self.is_in_time("creation", after, tally)
            }
            Err(last) => {
                self.note_shared_services().await;
                let expected = format!(
                    "an answer from a pod of {to} within {} s of the Service's creation there",
                    give_up_after(self.context).as_secs()
                );
                report(&last, &expected, |seen| *seen == Seen::There, self.context, tally);
                false
            }
        }
    }

    /// Whether no client is answered any more, in time.
    async fn disappears(&self, watch: &Watch<'_>, tally: &mut Tally) {
        let (from, to) = (self.context.instance.from(), self.context.instance.to());
        let gone = |seen: &Seen| matches!(seen, Seen::Nothing(_));
        match watch.until(gone).await {
            Ok(after) => {
                self.measure("removal_seen_after", after);
                tally.witness(format!(
                    "no node of {from} got an answer {} ms after the Service was deleted in {to}",
                    after.as_millis()
                ));
                self.is_in_time("deletion", after, tally);
            }
            Err(last) => {
                let expected = format!(
                    "no more answers within {} s of the Service's deletion in {to}",
                    give_up_after(self.context).as_secs()
                );
                report(&last, &expected, gone, self.context, tally);
            }
        }
    }

    /// Whether the change took effect within the threshold; else that is a finding.
    fn is_in_time(&self, what: &str, after: Duration, tally: &mut Tally) -> bool {
        let limit = self.context.environment.facts().thresholds.propagation;
        if after <= limit {
            return true;
        }
        let (from, to) = (self.context.instance.from(), self.context.instance.to());
        tally.finding(
            format!("{to} -> {from}"),
            format!(
                "the Service's {what} in {to} takes effect on every node of {from} within {} s",
                limit.as_secs_f64()
            ),
            format!("it took {:.1} s", after.as_secs_f64()),
        );
        false
    }

    fn measure(&self, name: &str, after: Duration) {
        let (from, to) = (self.context.instance.from(), self.context.instance.to());
        let millis = after.as_secs_f64() * 1000.0;
        self.context
            .measure(name, format!("{to} -> {from}"), millis, Unit::Milliseconds);
    }

    /// What the agents of the near cluster count, as evidence only.
    async fn note_shared_services(&self) {
        let mut unread = Tally::new();
        let facts = self.context.environment.facts();
        let name = remotes::mesh_name(&facts, self.context.instance.to());
        let from = self.context.instance.from();
        for report in remotes::reports(self.context, from, CiliumQuery::Status, Age::now(), &mut unread).await {
            for remote in report.remotes.iter().flatten().filter(|r| r.name == name) {
                let count = remote.num_shared_services;
                self.context.note(format!(
                    "{} on {} reports {count} shared services of {name}",
                    report.pod, report.node
                ));
            }
        }
    }
}

/// The control: nothing answers while no cluster has backends.
async fn no_answer_before(watch: &Watch<'_>, tally: &mut Tally) -> bool {
    let before = watch.look().await;
    for (node, seen) in &before {
        match seen {
            Seen::Nothing(_) => {}
            Seen::There | Seen::Unexpected(_) => tally.finding(
                format!("control, {node}"),
                "no answer while no cluster has backends for the Service",
                describe(seen),
            ),
            Seen::Unknown(why) => tally.unknown(format!("control, {node}: {why}")),
        }
    }
    before.values().all(|seen| matches!(seen, Seen::Nothing(_)))
}
