//! Every agent serves every Service with the backends that the EndpointSlices of all clusters have.

mod compare;
mod expected;
mod listed;

use super::{
    cilium,
    deviation::{Counts, Difference, Seen, conclude},
    look::Look,
};
use crate::kit::cilium::nodes::meshed;
use async_trait::async_trait;
use compare::Agent;
use expected::Mesh;
use listed::{Listed, Map};
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, CiliumQuery, Needs, Scope, Tally, Verdict};
use std::collections::BTreeMap;

/// Services of every agent against Services and EndpointSlices.
pub struct Services;

#[async_trait]
impl Check for Services {
    fn id(&self) -> CheckId {
        CheckId::from("state::services")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node serves every Service with the backends that its EndpointSlices have, and no others",
            proves: "On no node a request to a Service of whatever namespace goes to a pod that has gone, or never \
                     reaches one that is ready. Global Services have the backends of every cluster that shares them.",
            how: "`cilium-dbg service list -o json` and `cilium-dbg bpf lb list -o json` of every agent (16 of a \
                  larger cluster, drawn by `--sample-seed`) against the Services and EndpointSlices of all clusters, \
                  merged by the annotations global, shared and affinity (their older names, too). A Service that is \
                  global in one cluster and not in another that has it is a finding. Terminating \
                  backends, and those that affinity or a traffic policy may leave out, are accepted either way. A \
                  difference must be there again `thresholds.propagation` (default 10 s) later, a backend too many \
                  twice.",
            control: "At least one frontend must have been compared. An agent that does not answer, or lists that \
                      cannot be read, make it inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf lb \
                       list` shows what the data path has, `cilium-dbg service list` what the agent wants, `kubectl \
                       --context CONTEXT get endpointslices -A` what the API has. Restart that agent. All agents of a \
                       cluster, other cluster's backends only: compare the annotations of both Services.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "global-affinity-written-none",
            "global-merged-one-way",
            "global-ports-mixed-up",
            "service-backend-dead-on-node",
            "service-backend-missing-on-node",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        if let Err(verdict) = cilium(context, &facts) {
            return verdict;
        }
        conclude(context, |look, tally| compare(context, look, tally)).await
    }
}

fn compare(context: &CheckContext, look: &Look, tally: &mut Tally) -> Seen {
    let mut seen = Seen::of("frontends of Services in agents");
    match Mesh::of(
        context,
        look,
        &meshed(&context.environment.facts(), context.instance.from()),
    ) {
        Ok(mesh) => {
            of_agents(context, look, &mesh, &mut seen, tally);
            one_sided(context, &mesh, &mut seen);
        }
        Err(why) => tally.unknown(why),
    }
    seen
}

/// Services that are global here and have a twin that is not: nobody merges them.
fn one_sided(context: &CheckContext, mesh: &Mesh<'_>, seen: &mut Seen) {
    let own = context.instance.from();
    // Those of the run are global in one cluster while checks make them so, and stay until its namespaces go.
    let strangers = mesh.services().filter(|one| !mesh.is_in_our_namespaces(&one.name));
    for service in strangers {
        for other in mesh.unmerged(service) {
            let (namespace, name) = &service.name;
            let difference = Difference {
                subject: format!("Service {namespace}/{name}"),
                expected: "`service.cilium.io/global` in every cluster that has the Service, or in none".to_owned(),
                observed: format!("global in {own}, not in {other}: it is merged in neither"),
                version: mesh.version(&service.name),
                counts: Counts::Twice,
            };
            seen.in_api("get services -A -o yaml", difference);
        }
    }
}

fn of_agents(context: &CheckContext, look: &Look, mesh: &Mesh<'_>, seen: &mut Seen, tally: &mut Tally) {
    let own = match look.cluster(context.instance.from()) {
        Ok(own) => own,
        Err(why) => return tally.unknown(why),
    };
    let maps: BTreeMap<_, _> = own.answers(CiliumQuery::BalancerMap, tally).into_iter().collect();
    for (node, output) in own.answers(CiliumQuery::Services, tally) {
        // One without a map did not answer, and is in the tally.
        let Some(map) = maps.get(node) else { continue };
        match (Listed::read(output), Map::read(map)) {
            (Ok(listed), Ok(map)) => Agent { node, listed, map }.compare(mesh, seen),
            (Err(why), _) | (_, Err(why)) => tally.unknown(format!("{node}: {why}")),
        }
    }
}
