//! Session affinity: a client stays with the pod that answered it first.

use super::{
    NEEDS, SAMPLE,
    ask::{Answers, Exchange, ask, is_pod},
    side::Side,
    steady::while_steady,
};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// `sessionAffinity: ClientIP`.
pub struct SessionAffinity;

#[async_trait]
impl Check for SessionAffinity {
    fn id(&self) -> CheckId {
        CheckId::from("service::session_affinity")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "With session affinity a client stays with its pod",
            proves: "Every node applies `sessionAffinity: ClientIP`: all connections of a client reach the pod that \
                     answered its first one.",
            how: "The client on every node sends one GET to `svc-sticky` and then 120 more, each over a new \
                  connection. The pod that answered the first must answer all.",
            control: "At `svc-plain`, which has the same backends without session affinity, at least two pods answer \
                      the same client; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n NAMESPACE get service svc-sticky -o yaml` (sessionAffinity), \
                       then `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                       status --verbose` (Session Affinity).",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["session-affinity-ignored"]
    }
    // Where a node has two backends, it is left with one.
    fn blinded_by(&self) -> &'static [&'static str] {
        &["service-backend-missing-on-node"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        while_steady(context, observe(context)).await
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let side = Side::of(context, context.instance.from())?;
    let (sticky, plain) = (side.target("svc-sticky", "http")?, side.target("svc-plain", "http")?);
    let pods = side.pods("backend")?;
    if pods.len() < 2 {
        return Err(Verdict::inconclusive(format!(
            "{} has fewer than two backends, so session affinity cannot be observed",
            side.cluster
        )));
    }
    let mut tally = Tally::new();
    side.report_missing(&mut tally);
    let control = ask(context, &side.clients, &plain, Exchange::Http, SAMPLE).await;
    let first = ask(context, &side.clients, &sticky, Exchange::Http, 1).await;
    let more = ask(context, &side.clients, &sticky, Exchange::Http, SAMPLE).await;
    let mut kept = 0;
    for ((control, first), more) in control.iter().zip(&first).zip(&more) {
        let node = &control.client.node;
        if let Some(why) = [control, first, more].iter().find_map(|a| a.unknown.clone()) {
            tally.unknown(format!("from {node}: {why}"));
            continue;
        }
        if control.servers.len() < 2 {
            tally.unknown(format!(
                "control, from {node}: fewer than two pods answered at svc-plain: {}",
                control.describe()
            ));
            continue;
        }
        match wrong(first, more) {
            None => kept += more.answered(),
            Some(observed) => tally.finding(
                format!("svc-sticky from the client on {node}"),
                "every request answered by the pod that answered the client's first one",
                observed,
            ),
        }
        for (server, _) in more.servers.iter().filter(|(s, _)| !pods.iter().any(|p| is_pod(s, p))) {
            tally.finding(
                format!("svc-sticky from the client on {node}"),
                "answers from the backends of the Service only",
                format!("answered by {server}"),
            );
        }
    }
    if kept > 0 {
        tally.witness(format!(
            "{kept} requests of the clients of {} were answered by the pod of the client's first one, while several \
             pods answered the same clients at svc-plain",
            side.cluster
        ));
    }
    Ok(tally.verdict())
}

/// How a client was answered otherwise than it must be.
fn wrong(first: &Answers, more: &Answers) -> Option<String> {
    let Some((chosen, _)) = first.servers.first() else {
        return Some(format!("the first request was not answered: {}", first.describe()));
    };
    if !more.failures.is_empty() {
        return Some(more.describe());
    }
    let others: u32 = more.servers.iter().filter(|(s, _)| s != chosen).map(|(_, n)| n).sum();
    (others > 0).then(|| {
        format!(
            "{others} of {} requests were answered by another pod than {}",
            more.answered(),
            chosen.pod
        )
    })
}
