//! Session affinity: a client stays with the pod that answered it first.

use super::ask::{Answers, Exchange, ask, is_pod};
use super::side::Side;
use super::steady::while_steady;
use super::{NEEDS, SAMPLE};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Scope, Tally, Verdict};

/// `sessionAffinity: ClientIP`.
pub struct Sticky;

#[async_trait]
impl Check for Sticky {
    fn id(&self) -> CheckId {
        CheckId::from("service::session_affinity")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "With session affinity a client stays with its pod",
            proves: "`sessionAffinity: ClientIP` is heeded on every node: all connections of a client reach the pod that answered its first one.",
            how: "The client on every node sends one GET to `svc-sticky`, and then 120 more, each over a new connection: the pod that answered the first must answer all.",
            control: "The same client meets at least two pods at `svc-plain`, which has the same pods behind it without session affinity: so it is not merely that there is only one to meet.",
            when_red: "`kubectl -n meshproof get service svc-sticky -o yaml` (sessionAffinity), then `cilium-dbg status --verbose` (Session Affinity) and `cilium-dbg service list` on the node named.",
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
            "{} has only one pod behind the service, so a client cannot but stay with it",
            side.cluster
        )));
    }
    let mut tally = Tally::new();
    side.note_missing(&mut tally);
    let control = ask(context, &side.askers, &plain, Exchange::Http, SAMPLE).await;
    let first = ask(context, &side.askers, &sticky, Exchange::Http, 1).await;
    let more = ask(context, &side.askers, &sticky, Exchange::Http, SAMPLE).await;
    let mut kept = 0;
    for ((control, first), more) in control.iter().zip(&first).zip(&more) {
        let node = &control.client.node;
        if let Some(why) = [control, first, more].iter().find_map(|a| a.unknown.clone()) {
            tally.unknown(format!("from {node}: {why}"));
            continue;
        }
        if control.servers.len() < 2 {
            tally.unknown(format!(
                "control, from {node}: svc-plain does not show two pods either: {}",
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
                "answers by the pods behind the service only",
                format!("answered by {server}"),
            );
        }
    }
    if kept > 0 {
        tally.witness(format!(
            "{kept} requests of the clients on the nodes of {} went to the pod of the client's first one, while svc-plain showed the same clients several pods",
            side.cluster
        ));
    }
    Ok(tally.verdict())
}

/// What a client saw that it must not.
fn wrong(first: &Answers, more: &Answers) -> Option<String> {
    let Some((chosen, _)) = first.servers.first() else {
        return Some(format!("the first request was not answered: {}", first.describe()));
    };
    if !more.failures.is_empty() {
        return Some(more.describe());
    }
    let astray: u32 = more.servers.iter().filter(|(s, _)| s != chosen).map(|(_, n)| n).sum();
    (astray > 0).then(|| {
        format!(
            "{astray} of {} requests were answered by another pod than {}",
            more.answered(),
            chosen.pod
        )
    })
}
