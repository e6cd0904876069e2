//! Flows that must be possible.

use super::{
    NEEDS, backends, commands,
    judge::{self, Seen},
    service_level,
    speech::{exchange, question},
};
use crate::kit::{
    flow::{Absent, Destination, agent_of, find, flow_of},
    probes::{BETWEEN_LOOKS, PATIENT, SECOND_LOOKS},
};
use async_trait::async_trait;
use jiff::Timestamp;
use meshproof_contract::{
    Action, AgentFacts, Check, CheckContext, CheckId, CheckText, Facts, Flow, FlowKind, Needs, Probe, Scope, Tally,
    Verdict, flow::FlowProtocol,
};

/// A flow with `allowed: true`.
pub struct Allowed;

#[async_trait]
impl Check for Allowed {
    fn id(&self) -> CheckId {
        CheckId::from("flows::allowed")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A flow that the operators need works as they expect",
            proves: "A pod with the client's namespace, labels and service account reaches the destination, which \
                     answers in the protocol of the flow, and as well as `expect` says: status, body, certificate, \
                     99th percentile, availability, the cluster that answers.",
            how: "The agent in the client's pod connects, and meshproof speaks the protocol over this connection; TCP \
                  and DNS are spoken by the agent itself. A try that fails is repeated twice, 1 s apart. Percentile \
                  and availability are of a series of 200 or 600 tries. The cluster that answers follows from the \
                  backends that Cilium has on the client's node.",
            control: "An answer of the destination is the proof itself. Without one from an agent that could try, the \
                      check is red or inconclusive, never green.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- hubble observe \
                       --from-ip CLIENT` on the client's node shows drops with their reason; then the Service's \
                       EndpointSlices and the server's log.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Flow(FlowKind::Allowed)
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "flow-answered-by-other-cluster",
            "flow-certificate-expired",
            "flow-client-denied",
            "flow-server-slow",
            "flow-service-without-backends",
            "flow-wrong-status",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        observe(context).await.unwrap_or_else(|verdict| verdict)
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let facts = context.environment.facts();
    let flow = flow_of(context, &facts)?;
    let client = agent_of(&facts, &flow)?;
    let subject = format!("{} -> {}", flow.from, flow.to);
    let mut tally = Tally::new();
    let destination = match find(context, &facts, &flow).await {
        Ok(destination) => destination,
        Err(Absent::Missing(expected, observed)) => {
            tally.finding(subject, expected, observed);
            return Ok(tally.verdict());
        }
        Err(Absent::Unknown(why)) => return Err(Verdict::inconclusive(why)),
    };
    let mut all = vec![reach(context, &flow, client, &destination).await];
    if matches!(all[0], Seen::Right(_)) {
        all.extend(backends::judge(context, &facts, &flow, client, &destination).await);
        all.extend(service_level::judge(context, &flow, client, &destination).await);
    }
    if flow.expect.encrypted.is_some() {
        context.note("whether its packets are encrypted between nodes is for encryption::flows_of_operators to judge");
    }
    conclude(context, &facts, (&flow, client), all, tally)
}

fn conclude(
    context: &CheckContext,
    facts: &Facts,
    (flow, client): (&Flow, &AgentFacts),
    all: Vec<Seen>,
    mut tally: Tally,
) -> Result<Verdict, Verdict> {
    let subject = format!("{} -> {}", flow.from, flow.to);
    for seen in all {
        match seen {
            Seen::Right(what) => tally.witness(format!("{subject}: {what}")),
            Seen::Wrong(expected, observed) => tally.finding(subject.clone(), expected, observed),
            Seen::Unknown(why) => tally.unknown(why),
        }
    }
    if tally.has_findings() {
        context.note(format!(
            "the client was {} on {} ({})",
            client.id.pod, client.node, client.address
        ));
        for command in commands::for_flow(facts, flow, client) {
            context.suggest(command);
        }
    }
    Ok(tally.verdict())
}

/// The destination's answer, of up to three tries.
async fn reach(context: &CheckContext, flow: &Flow, client: &AgentFacts, destination: &Destination) -> Seen {
    let mut seen = attempt(context, flow, client, destination).await;
    for _ in 0..SECOND_LOOKS {
        if matches!(seen, Seen::Right(_)) {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        seen = attempt(context, flow, client, destination).await;
    }
    seen
}

async fn attempt(context: &CheckContext, flow: &Flow, client: &AgentFacts, destination: &Destination) -> Seen {
    let exchange = match exchange(context, flow, destination, PATIENT).await {
        Ok(exchange) => exchange,
        Err(why) => return Seen::Unknown(why),
    };
    let environment = &context.environment;
    if let Some(exchange) = exchange {
        return match environment.exchange(&client.id, exchange).await {
            Ok(heard) => judge::exchange(flow, &heard, Timestamp::now().as_second()),
            Err(error) => Seen::Unknown(error.to_string()),
        };
    }
    let probe = match flow.to.protocol {
        FlowProtocol::Dns => Probe::once(question(flow, destination), PATIENT),
        _ => Probe::once(
            Action::TcpConnect {
                to: destination.target.clone(),
            },
            PATIENT,
        ),
    };
    match environment.probe(&client.id, vec![probe]).await {
        Ok(outcomes) => outcomes.first().map_or_else(
            || Seen::Unknown("the client's agent gave no outcome".to_owned()),
            judge::outcome,
        ),
        Err(error) => Seen::Unknown(error.to_string()),
    }
}
