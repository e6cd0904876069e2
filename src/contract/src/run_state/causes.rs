//! From what did not answer, and what the clusters' watches saw, to causes: each with the trials that it concerns.

use super::{RunState, TrialState};
use crate::{
    ClusterChange, ClusterName, NodeName, Silent, Standing, TrialName, Trouble, TroubleKind, cause::PodOwner,
    text::counted,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trials that the same silent pod must concern before it is told once instead of with each.
const SHARED: usize = 2;

/// A cause with what it kept from being observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CauseReport {
    /// What happened.
    #[serde(flatten)]
    pub trouble: Trouble,
    /// The same as a sentence without a full stop.
    pub text: String,
    /// Trials that could not observe because of it, in the order of the plan.
    pub unobserved: Vec<TrialName>,
}

impl CauseReport {
    /// Whether this trial could not observe because of it.
    pub fn concerns(&self, trial: &TrialName) -> bool {
        self.unobserved.contains(trial)
    }

    /// The sentence, with how many checks could not observe because of it.
    pub fn sentence(&self) -> String {
        match self.unobserved.len() {
            0 => self.text.clone(),
            n => format!("{}: {} could not observe because of it", self.text, counted(n, "check")),
        }
    }
}

impl RunState {
    /// Takes a change of a cluster that was seen at this time.
    pub(super) fn change(&mut self, cluster: &ClusterName, change: &ClusterChange, at: Timestamp) {
        let begin = |kind, since| Trouble {
            kind,
            cluster: cluster.clone(),
            since,
            until: None,
        };
        // What happens at once is over at once.
        let happened = |kind| Trouble {
            kind,
            cluster: cluster.clone(),
            since: Some(at),
            until: Some(at),
        };
        match change {
            ClusterChange::NodeNotReady { node, since } => {
                let kind = TroubleKind::NodeNotReady { node: node.clone() };
                if self.lasting(cluster, &kind).is_none() {
                    self.troubles.push(begin(kind, *since));
                }
            }
            ClusterChange::NodeReady { node } => {
                let kind = TroubleKind::NodeNotReady { node: node.clone() };
                self.ended(cluster, &kind, at);
            }
            ClusterChange::NodeCame { node } => {
                self.troubles
                    .push(happened(TroubleKind::NodeCame { node: node.clone() }));
            }
            ClusterChange::NodeWent { node } => {
                // A node that is gone is no longer one that is not Ready.
                let kind = TroubleKind::NodeNotReady { node: node.clone() };
                self.ended(cluster, &kind, at);
                self.troubles
                    .push(happened(TroubleKind::NodeWent { node: node.clone() }));
            }
            ClusterChange::ApiAway { .. } => {
                if self.lasting(cluster, &TroubleKind::ApiAway).is_none() {
                    self.troubles.push(begin(TroubleKind::ApiAway, Some(at)));
                }
            }
            ClusterChange::ApiBack => self.ended(cluster, &TroubleKind::ApiAway, at),
        }
    }

    fn lasting(&mut self, cluster: &ClusterName, kind: &TroubleKind) -> Option<&mut Trouble> {
        self.troubles
            .iter_mut()
            .find(|trouble| &trouble.cluster == cluster && &trouble.kind == kind && trouble.until.is_none())
    }

    fn ended(&mut self, cluster: &ClusterName, kind: &TroubleKind, at: Timestamp) {
        if let Some(trouble) = self.lasting(cluster, kind) {
            trouble.until = Some(at);
        }
    }

    /// What kept checks from observing, each cause once, the one that concerns most trials first. A node that is not
    /// Ready, or that came or went, is told even if no trial missed it.
    pub fn causes(&self) -> Vec<CauseReport> {
        let troubles = self.troubles.iter().cloned().chain(self.silent_pods());
        let mut causes: Vec<CauseReport> = troubles
            .map(|trouble| CauseReport {
                text: trouble.to_string(),
                trouble,
                unobserved: Vec::new(),
            })
            .collect();
        for trial in self.trials.iter().filter(|trial| could_not_tell(trial)) {
            let cause = causes
                .iter()
                .position(|cause| blames(trial, &cause.trouble))
                .or_else(|| causes.iter().position(|cause| self.coincides(trial, &cause.trouble)));
            if let Some(at) = cause {
                causes[at].unobserved.push(trial.planned.trial.clone());
            }
        }
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.unobserved.len()));
        causes
    }

    /// What lasted while a trial ran, on a cluster of it: for a failure, worth reading beside it.
    pub fn meanwhile<'a>(&'a self, trial: &'a TrialState) -> impl Iterator<Item = &'a Trouble> {
        self.troubles.iter().filter(|trouble| lasted_in(trial, trouble))
    }

    /// Whether nothing is known to have been silent, and this lasted meanwhile. A node that was not Ready before the
    /// run takes something away only where an agent was expected on it.
    fn coincides(&self, trial: &TrialState, trouble: &Trouble) -> bool {
        let nothing_silent = trial
            .finished
            .as_ref()
            .is_none_or(|finished| finished.silent.is_empty());
        let takes_away = match &trouble.kind {
            TroubleKind::NodeNotReady { node } => {
                let missing = self.facts.iter().flat_map(|facts| &facts.missing_agents);
                let mut here = missing.filter(|agent| agent.cluster == trouble.cluster);
                trouble
                    .since
                    .is_some_and(|since| self.first.is_some_and(|first| since >= first))
                    || here.any(|agent| agent.node.as_ref() == Some(node))
            }
            _ => true,
        };
        nothing_silent && takes_away && lasted_in(trial, trouble)
    }

    /// Pods that did not answer several trials, though nothing is known to be wrong with their nodes.
    fn silent_pods(&self) -> Vec<Trouble> {
        let mut found: Vec<(Trouble, usize)> = Vec::new();
        for trial in self.trials.iter().filter(|trial| could_not_tell(trial)) {
            let silent = trial.finished.iter().flat_map(|finished| &finished.silent);
            for silent in silent.filter(|silent| !self.troubles.iter().any(|trouble| trouble.explains(silent))) {
                let Some(kind) = pod_silent(silent) else { continue };
                match found
                    .iter_mut()
                    .find(|(trouble, _)| &trouble.cluster == silent.cluster() && trouble.kind == kind)
                {
                    Some((_, trials)) => *trials += 1,
                    None => found.push((
                        Trouble {
                            kind,
                            cluster: silent.cluster().clone(),
                            since: None,
                            until: None,
                        },
                        1,
                    )),
                }
            }
        }
        found.retain(|(_, trials)| *trials >= SHARED);
        found.into_iter().map(|(trouble, _)| trouble).collect()
    }
}

fn pod_silent(silent: &Silent) -> Option<TroubleKind> {
    let kind = |node: Option<&NodeName>, pod: &str, owner| TroubleKind::PodSilent {
        node: node.cloned(),
        pod: pod.to_owned(),
        owner,
    };
    match silent {
        Silent::Probe { pod, node, .. } => Some(kind(node.as_ref(), pod, PodOwner::Run)),
        Silent::Cilium { pod, node, .. } => Some(kind(Some(node), pod, PodOwner::Cilium)),
        Silent::Api { .. } => None,
    }
}

fn could_not_tell(trial: &TrialState) -> bool {
    matches!(trial.standing(), Some(Standing::Inconclusive | Standing::Unobserved))
}

/// Whether something that did not answer the trial did not because of this.
fn blames(trial: &TrialState, trouble: &Trouble) -> bool {
    let silent = trial.finished.iter().flat_map(|finished| &finished.silent);
    silent.into_iter().any(|silent| trouble.explains(silent))
}

fn lasted_in(trial: &TrialState, trouble: &Trouble) -> bool {
    let (Some(instance), Some(finished)) = (&trial.instance, &trial.finished) else {
        return false;
    };
    // A trial that could not start has no time of its own but its end.
    let from = trial.started.unwrap_or(finished.at);
    trouble.overlaps(instance, from, finished.at)
}
