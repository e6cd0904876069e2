//! What did not answer a trial: read from the errors of its calls, where they still say whom they are about.

use meshproof_contract::{CiliumAnswer, EnvironmentError, Facts, Silent};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// What did not answer so far.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<BTreeSet<Silent>>);

impl Silence {
    /// Passes a result on, and keeps whom its error is about.
    pub(crate) fn heard<T>(&self, facts: &Facts, result: Result<T, EnvironmentError>) -> Result<T, EnvironmentError> {
        if let Err(error) = &result {
            self.add(silent(facts, error));
        }
        result
    }

    /// The same for Cilium's answers, each of which may be an error.
    pub(crate) fn heard_of_cilium(&self, answers: &[CiliumAnswer]) {
        for answer in answers {
            if let Err(EnvironmentError::Api { cluster, .. } | EnvironmentError::Deadline { cluster, .. }) =
                &answer.output
            {
                self.add(Some(Silent::Cilium {
                    cluster: cluster.clone(),
                    node: answer.node.clone(),
                    pod: answer.pod.clone(),
                }));
            }
        }
    }

    /// Takes them out, in order.
    pub(crate) fn take(&self) -> Vec<Silent> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
            .into_iter()
            .collect()
    }

    fn add(&self, silent: Option<Silent>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(silent);
    }
}

fn silent(facts: &Facts, error: &EnvironmentError) -> Option<Silent> {
    match error {
        EnvironmentError::AgentGone { agent, .. } => Some(Silent::Probe {
            cluster: agent.cluster.clone(),
            node: facts
                .agents
                .iter()
                .find(|known| &known.id == agent)
                .map(|known| known.node.clone()),
            pod: agent.pod.clone(),
        }),
        EnvironmentError::Api { cluster, .. } | EnvironmentError::Deadline { cluster, .. } => Some(Silent::Api {
            cluster: cluster.clone(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::agent;
    use meshproof_contract::AgentId;

    #[test]
    fn an_agent_that_is_gone_is_named_with_its_node() {
        let facts = Facts {
            agents: vec![agent("infra")],
            ..Facts::default()
        };
        let silence = Silence::default();
        let gone = |pod: &str| EnvironmentError::AgentGone {
            agent: AgentId {
                cluster: "infra".into(),
                pod: pod.to_owned(),
            },
            reason: "reset".to_owned(),
        };
        for _ in 0..2 {
            assert!(silence.heard::<()>(&facts, Err(gone("client-1"))).is_err());
        }
        assert!(silence.heard::<()>(&facts, Err(gone("client-9"))).is_err());
        let probe = |node: Option<&str>, pod: &str| Silent::Probe {
            cluster: "infra".into(),
            node: node.map(Into::into),
            pod: pod.to_owned(),
        };
        assert_eq!(
            silence.take(),
            [probe(None, "client-9"), probe(Some("node-1"), "client-1")]
        );
        assert_eq!(silence.take(), []);
    }

    #[test]
    fn what_is_refused_is_not_silent() {
        let silence = Silence::default();
        let refused = EnvironmentError::Forbidden {
            cluster: "infra".into(),
            verb: "list".to_owned(),
            object: "pods".to_owned(),
            reason: "no".to_owned(),
        };
        let answer = |output| CiliumAnswer {
            pod: "cilium-x".to_owned(),
            node: "infra-1".into(),
            output,
        };
        assert!(silence.heard::<()>(&Facts::default(), Err(refused.clone())).is_err());
        silence.heard_of_cilium(&[answer(Err(refused))]);
        assert_eq!(silence.take(), []);
        silence.heard_of_cilium(&[answer(Err(EnvironmentError::Deadline {
            cluster: "infra".into(),
            operation: "run".to_owned(),
            seconds: 30,
            last: "no output".to_owned(),
        }))]);
        assert_eq!(
            silence.take(),
            [Silent::Cilium {
                cluster: "infra".into(),
                node: "infra-1".into(),
                pod: "cilium-x".to_owned(),
            }]
        );
    }
}
