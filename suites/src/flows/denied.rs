//! Flows that must not be possible.

use super::{
    NEEDS, commands,
    judge::{self, Seen},
    speech::{exchange, question},
};
use crate::kit::flow::{Absent, Destination, agent_of, controls, find, flow_of};
use async_trait::async_trait;
use futures::future::join_all;
use meshproof_contract::{
    Action, AgentFacts, Check, CheckContext, CheckId, CheckText, Flow, FlowKind, Heard, Needs, Outcome, Probe, Scope,
    Tally, Target, Verdict,
    flow::{FlowProtocol, Refusal},
};
use std::time::Duration;

/// A flow with `allowed: false`.
pub struct Denied;

/// Limit of a try: above TCP's first retransmission, 1 s after the first packet (RFC 6298).
const LIMIT: Duration = Duration::from_secs(2);
/// Tries, all of which must be refused.
const TRIES: usize = 3;

#[async_trait]
impl Check for Denied {
    fn id(&self) -> CheckId {
        CheckId::from("flows::denied")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A flow that the operators forbid is refused as they expect",
            proves: "A pod with the client's namespace, labels and service account does not reach the destination, \
                     while others do; it is refused in the way that the flow names: dropped, rejected or HTTP 403.",
            how: "The agent in the client's pod tries to connect three times at once, to the address of a Service \
                  rather than its name, so that a refused DNS question is not taken for a refused flow. For HTTP, a \
                  request follows on the connection. Errors of the agent, of DNS and of a Service without backends \
                  are inconclusive.",
            control: "At the same time the destination must answer another client: one whose flow is allowed, an \
                      unrestricted pod, or a node of the client's cluster. Otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                       endpoint list` on the client's node shows whether policy is enforced for the pod; then the \
                       policies of both namespaces.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Flow(FlowKind::Denied)
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["flow-policy-missing"]
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        &["flow-service-without-backends"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        observe(context).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let facts = context.environment.facts();
    let flow = flow_of(context, &facts)?;
    let client = agent_of(&facts, &flow)?;
    let destination = match find(context, &facts, &flow).await {
        Ok(destination) => destination,
        Err(Absent::Missing(expected, observed)) => {
            return Err(Verdict::inconclusive(format!("{expected} is not there: {observed}")));
        }
        Err(Absent::Unknown(why)) => return Err(Verdict::inconclusive(why)),
    };
    let others = controls(&facts, &flow);
    let controlled = join_all(
        others
            .iter()
            .map(|other| is_answered(context, &flow, other, &destination)),
    );
    let (tried, controlled) = tokio::join!(refused(context, &flow, client, &destination), controlled);
    let subject = format!("{} -> {}", flow.from, flow.to);
    let mut tally = Tally::new();
    match others.iter().zip(controlled).find(|(_, answered)| *answered) {
        Some((other, _)) => tally.witness(format!("{} answers {}", flow.to, other.id.pod)),
        None => {
            let why = "answers no other client either, so it is not known that the flow is refused";
            tally.unknown(format!("{} {why}", flow.to));
            if !tried.is_answered {
                return Ok(tally.verdict());
            }
        }
    }
    match tried.seen {
        Seen::Right(what) => tally.witness(format!("{subject}: {what}")),
        Seen::Unknown(why) => tally.unknown(why),
        Seen::Wrong(expected, observed) => {
            tally.finding(subject, expected, observed);
            context.note(format!(
                "the client was {} on {} ({})",
                client.id.pod, client.node, client.address
            ));
            for command in commands::for_flow(&facts, &flow, client) {
                context.suggest(command);
            }
        }
    }
    Ok(tally.verdict())
}

/// Whether the destination answers this client at all.
async fn is_answered(context: &CheckContext, flow: &Flow, client: &AgentFacts, destination: &Destination) -> bool {
    let probe = probe(flow, destination);
    let outcomes = context.environment.probe(&client.id, vec![probe]).await;
    outcomes.is_ok_and(|outcomes| outcomes.iter().any(Outcome::is_success))
}

/// What became of the client's tries.
struct Tried {
    /// The first that was not refused, or the first.
    seen: Seen,
    /// Whether any connection was made.
    is_answered: bool,
}

async fn refused(context: &CheckContext, flow: &Flow, client: &AgentFacts, destination: &Destination) -> Tried {
    let batch = vec![probe(flow, destination); TRIES];
    match context.environment.probe(&client.id, batch).await {
        Ok(outcomes) => Tried {
            is_answered: outcomes.iter().any(Outcome::is_success),
            seen: worst(context, flow, client, destination, &outcomes).await,
        },
        Err(error) => Tried {
            is_answered: false,
            seen: Seen::Unknown(error.to_string()),
        },
    }
}

async fn worst(
    context: &CheckContext,
    flow: &Flow,
    client: &AgentFacts,
    destination: &Destination,
    outcomes: &[Outcome],
) -> Seen {
    let mut all = Vec::new();
    for outcome in outcomes {
        // A rule about HTTP lets the connection pass.
        let heard = match outcome {
            Outcome::Answered { .. } if speaks_http(flow) => match asked(context, flow, client, destination).await {
                Ok(heard) => heard,
                Err(why) => return Seen::Unknown(why),
            },
            _ => None,
        };
        all.push(judge::refusal(flow, outcome, heard.as_ref()));
    }
    let other = all.iter().find(|seen| matches!(seen, Seen::Wrong(..)));
    let other = other.or_else(|| all.iter().find(|seen| matches!(seen, Seen::Unknown(_))));
    let first = other.or_else(|| all.first()).cloned();
    first.unwrap_or_else(|| Seen::Unknown("the client's agent gave no outcome".to_owned()))
}

fn speaks_http(flow: &Flow) -> bool {
    flow.to.protocol == FlowProtocol::Http && matches!(flow.expect.refusal, None | Some(Refusal::Forbidden))
}

async fn asked(
    context: &CheckContext,
    flow: &Flow,
    client: &AgentFacts,
    destination: &Destination,
) -> Result<Option<Heard>, String> {
    let by_address = Destination {
        target: target(flow, destination),
        ..destination.clone()
    };
    let Some(exchange) = exchange(context, flow, &by_address, LIMIT).await? else {
        return Ok(None);
    };
    let heard = context.environment.exchange(&client.id, exchange).await;
    heard.map(Some).map_err(|error| error.to_string())
}

fn probe(flow: &Flow, destination: &Destination) -> Probe {
    let action = match flow.to.protocol {
        FlowProtocol::Dns => question(flow, destination),
        _ => Action::TcpConnect {
            to: target(flow, destination),
        },
    };
    Probe::once(action, LIMIT)
}

/// By address where it is known.
fn target(flow: &Flow, destination: &Destination) -> Target {
    match destination.address {
        Some(address) => Target::new(address.to_string(), flow.to.port),
        None => destination.target.clone(),
    }
}
