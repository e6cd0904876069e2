//! Cases: policies with the cells over which they are tested, and checks made of them.

use super::{
    cell::{Cell, CellResult, Traffic},
    fixture::Fixture,
    participant::{Participant, SCENARIO},
    run_case::{JudgedCell, LOOKS, PreparedCase, run_case},
};
use crate::kit::{cilium::fqdn_labels::Labelled, known_fault::SECOND_FQDN_SELECTOR};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Outcome, Scope, Tally, Verdict};
use meshproof_oracle::{Expected, UnnamedCluster};
use serde_json::Value;
use std::sync::Arc;

/// Policies and the traffic with which they are tested.
#[derive(Clone, Copy)]
pub struct Case {
    /// A few words, for findings and reports.
    pub name: &'static str,
    /// The objects, without name and namespace: see [`crate::kit::object::policy`].
    pub policies: fn(&Fixture) -> Vec<Value>,
    /// The cells, given the peers that take part.
    pub cells: fn(&Fixture, &[Arc<Participant>]) -> Vec<Cell>,
}

impl Case {
    /// Runs it; what each cell showed under the policies is returned, if it came so far.
    pub async fn run(
        &self,
        context: &CheckContext,
        fixture: &Fixture,
        tally: &mut Tally,
    ) -> Option<Vec<(JudgedCell, CellResult)>> {
        let case = PreparedCase {
            name: self.name,
            policies: (self.policies)(fixture),
            cells: (self.cells)(fixture, &fixture.peers_of(&context.instance)),
            looks: LOOKS,
        };
        run_case(context, fixture, case, tally).await
    }
}

/// The check of what Kubernetes documents and some settings of Cilium refuse.
pub const IP_BLOCK: &str = "policy::ip_block";

/// A check made of cases.
pub struct PolicyCheck {
    /// Its id.
    pub id: &'static str,
    /// Its texts.
    pub text: CheckText,
    /// On what it runs; in a direction the subject pods are in the cluster where it ends.
    pub scope: Scope,
    /// The claim that it verifies.
    pub claim: ClaimKind,
    /// The lab's faults that turn it red.
    pub faults: &'static [&'static str],
    /// What is tested, side by side on as many groups of subject pods as there are.
    pub cases: &'static [Case],
}

#[async_trait]
impl Check for PolicyCheck {
    fn id(&self) -> CheckId {
        CheckId::from(self.id)
    }
    fn text(&self) -> CheckText {
        self.text
    }
    fn scope(&self) -> Scope {
        self.scope
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: Some(self.claim),
            mutates: true,
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        self.faults
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        // A name that one policy opened would be known to the next one's agent: those are tried one after the other.
        let at_once = match self.id == SECOND_FQDN_SELECTOR.check {
            true => 1,
            false => self.cases.len(),
        };
        let mut fixtures = match Fixture::several(context, at_once).await {
            Ok(fixtures) => fixtures,
            Err(verdict) => return verdict,
        };
        for fixture in &mut fixtures {
            fixture.note_tested_nodes(context);
            // That Cilium refuses what Kubernetes documents is what is to be found; all peers are of one cluster.
            if self.id == IP_BLOCK {
                fixture.surroundings.semantics.unnamed_cluster = UnnamedCluster::Any;
            }
        }
        let Some(fixture) = fixtures.first() else {
            return Verdict::inconclusive("no group of subject pods");
        };
        let cluster = fixture.cluster.clone();
        let policies = self.cases.iter().flat_map(|case| (case.policies)(fixture));
        if policies
            .into_iter()
            .any(|policy| policy.to_string().contains("\"kube-apiserver\""))
        {
            fixture.note_untested_api_servers(context);
        }
        let mut tally = Tally::new();
        let mut seen = Vec::new();
        for cases in self.cases.chunks(fixtures.len()) {
            // Those that have no case left return their pods.
            fixtures.truncate(cases.len());
            let running = cases.iter().zip(&fixtures).map(|(case, fixture)| async move {
                let mut tally = Tally::new();
                let seen = case.run(context, fixture, &mut tally).await;
                (seen, tally)
            });
            for (cells, found) in join_all(running).await {
                seen.extend(cells);
                tally.absorb(found);
            }
        }
        if self.id == SECOND_FQDN_SELECTOR.check {
            let labelled = fixtures.iter().find_map(|fixture| fixture.labelled.get());
            match labelled {
                Some(Labelled::ByPolicy) => {}
                Some(Labelled::ByOthers(addresses)) => {
                    for (address, names) in addresses {
                        let names: Vec<&str> = names.iter().map(String::as_str).collect();
                        context.note(format!(
                            "{address} has only the labels of {}, which another policy selects, in the agent's ipcache",
                            names.join(" and ")
                        ));
                    }
                    SECOND_FQDN_SELECTOR.tell(context, &cluster);
                }
                None if is_second_selector(&seen) => SECOND_FQDN_SELECTOR.tell(context, &cluster),
                None => {}
            }
        }
        tally.verdict()
    }
}

/// Whether the first policy opened a host by its name, and a later one did not.
fn is_second_selector(seen: &[Vec<(JudgedCell, CellResult)>]) -> bool {
    let [first, later @ ..] = seen else { return false };
    let by_name = |cells: &[(JudgedCell, CellResult)], wanted: fn(&CellResult) -> bool| {
        cells.iter().any(|(judged, result)| {
            let named = matches!(judged.cell.traffic, Traffic::ConnectByName { .. });
            named && judged.decision.expected == Expected::Allowed && wanted(result)
        })
    };
    let closed = |result: &CellResult| matches!(result, CellResult::Mismatch(Outcome::Timeout { .. }));
    by_name(first, |result| *result == CellResult::Ok)
        && !by_name(first, closed)
        && later.iter().any(|cells| by_name(cells, closed))
}
