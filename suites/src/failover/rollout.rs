//! Components beside the agents restart: cluster DNS, KVStoreMesh, Cilium's operator.

use super::{
    check::FailoverCheck,
    disruption::{Disrupted, while_disrupted},
    event::Event,
    footprint, now,
    observed::Observed,
    participants::{Participants, by},
    recording::{Plan, Recording},
    resync::ServiceCounter,
    retry_when_busy::Unjudged,
    stream::{Stream, TESTED},
    workload::{self, tally_failure, unknown},
};
use meshproof_contract::{CheckContext, CheckText, Component, Disruption, DnsFacts, Scope, Tally, Verdict};
use std::time::Duration;

/// The pods of cluster DNS are replaced.
pub const DNS_RESTARTED: FailoverCheck = FailoverCheck {
    id: "failover::dns_restarted",
    text: CheckText {
        title: "Names resolve while the replicas of cluster DNS are replaced",
        proves: "A rollout of cluster DNS, as an upgrade does it, interrupts lookups for no longer than an endpoint \
                 may take to be removed, and no other traffic.",
        how: "Streams to Service failover-local and DNS queries for two names run while the Deployment behind the DNS \
              Service is restarted (`kubectl rollout restart`), until all its pods are new and available, and for 5 s \
              more. No name may fail for longer than `thresholds.endpointRemoval` (default 2 s), or `recovery` \
              (default 60 s) where DNS has one replica; other streams must not be affected.",
        control: "Before the event both names resolve. A pod on the client's node and one in the other cluster are \
                  probed at the same spacing.",
        when_red: "`kubectl --context CONTEXT -n DNS_NAMESPACE get deployment NAME -o yaml`: does the rollout take a \
                   replica away before its successor is ready (`maxUnavailable`), and does the Corefile have \
                   `lameduck` and `ready`? Long losses: do new replicas say that they are ready before they answer?",
    },
    scope: Scope::Cluster,
    admission: footprint::DNS,
    faults: &["dns-ready-early"],
    attempt: |context, spacing| Box::pin(dns(context, spacing)),
};

/// The pods with KVStoreMesh are replaced.
pub const KVSTOREMESH_RESTARTED: FailoverCheck = FailoverCheck {
    id: "failover::kvstoremesh_restarted",
    text: CheckText {
        title: "Remote backends keep answering while the cluster's own KVStoreMesh restarts",
        proves: "Agents keep what they learned of other clusters while the cache that they read it from is replaced, \
                 so its upgrade or crash loses no request.",
        how: "Streams to Service failover-remote, which prefers the other cluster, run while the Deployment \
              clustermesh-apiserver of the streams' own cluster is restarted (`kubectl rollout restart`), until all \
              its pods are new and available, until KVStoreMesh counts a new Service of the other cluster (60 s at \
              most; 15 s where nothing counts), and for 2 s more. Every answer must come from the other cluster and \
              no stream may be affected. Skipped without KVStoreMesh.",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c kvstoremesh \
                   --tail=100` shows when it was in sync again; `cilium-dbg service list` on the client's node whether \
                   the other cluster's backends are there.",
    },
    scope: Scope::Direction,
    admission: footprint::OWN_MESH,
    faults: &["kvstoremesh-restart-drops-backends"],
    attempt: |context, spacing| Box::pin(across(context, spacing, Component::MeshApiServer)),
};

/// The operator's pods are replaced.
pub const OPERATOR_RESTARTED: FailoverCheck = FailoverCheck {
    id: "failover::operator_restarted",
    text: CheckText {
        title: "Traffic between clusters is not affected when Cilium's operator restarts",
        proves: "The operator only keeps objects in order: while no operator leads, and when the next one does, no \
                 identity, endpoint or backend is lost.",
        how: "Streams to Service failover-remote, which prefers the other cluster, run while the Deployment of the \
              operator of the streams' own cluster is restarted (`kubectl rollout restart`), until all its pods are \
              new and available, and for 5 s more, in which the next operator leads. Every answer must come from the \
              other cluster and no stream may be affected.",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT -n kube-system logs deploy/cilium-operator --since=5m` shows what the \
                   new leader removed; `kubectl --context CONTEXT get ciliumendpoints,ciliumidentities -A` what is \
                   there.",
    },
    scope: Scope::Direction,
    admission: footprint::OPERATOR,
    faults: &["operator-restart-drops-backends"],
    attempt: |context, spacing| Box::pin(across(context, spacing, Component::Operator)),
};

const CONTROL: &str = "Before the event every answer comes from the other cluster. A pod on the client's node and one \
                       in the other cluster are probed at the same spacing.";

/// How long names are watched once all replicas are new.
const DNS_WATCHED_AFTER: Duration = Duration::from_secs(5);
/// How long streams across clusters are watched once the operator is new: one that ends in order gives up its Lease,
/// and the next one leads after its retry period of 2 s.
const OPERATOR_WATCHED_AFTER: Duration = Duration::from_secs(5);
/// How long KVStoreMesh may take to be in sync again, up to 13 s as recorded, where it counts nothing.
const SYNC_WATCHED: Duration = Duration::from_secs(15);
/// The same, where it counts.
const SYNC_WITHIN: Duration = Duration::from_secs(60);
/// How long streams are watched after it.
const SYNCED_WATCHED_AFTER: Duration = Duration::from_secs(2);
/// How long the streams may take to cover the time that is to be watched.
const COVERED_WITHIN: Duration = Duration::from_secs(20);

async fn dns(context: &CheckContext, spacing: Duration) -> Result<Verdict, Unjudged> {
    let cluster = context.instance.from();
    let participants = Participants::of(context, cluster, workload::BACKEND).await?;
    let dns = participants.facts.cluster(cluster).and_then(|found| found.dns.clone());
    let dns = dns.filter(|dns| !dns.service.1.is_empty());
    let dns =
        dns.ok_or_else(|| Verdict::inconclusive(format!("the Service of cluster DNS of {cluster} was not found")))?;
    let client = &participants.clients[0];
    let plan = Plan::of(context, &participants, client, "failover-local", spacing)?;
    let recording = Recording::start(&plan, by(cluster)).await?;
    let (namespace, service) = dns.service.clone();
    let component = Component::ClusterDns { namespace, service };
    let (restarted, seen) = watched(context, recording, component, (None, DNS_WATCHED_AFTER)).await?;
    let event = restarted.event;
    let limit = limit(context, &dns, &participants);
    let mut tally = Tally::new();
    tally_failure(&mut tally, &restarted.restored);
    for stream in [Stream::Dns, Stream::OtherName] {
        judge_name(&seen, stream, &event, limit, &mut tally);
    }
    let others: Vec<Stream> = TESTED.into_iter().filter(|stream| *stream != Stream::Dns).collect();
    seen.judge_unnoticed(&mut tally, &others, &event, &participants.facts.thresholds)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

/// For how long a name may fail.
fn limit(context: &CheckContext, dns: &DnsFacts, participants: &Participants) -> Duration {
    let thresholds = &participants.facts.thresholds;
    if dns.replicas.len() > 1 {
        return thresholds.endpoint_removal;
    }
    context.note("cluster DNS has one replica: while it is replaced, `thresholds.recovery` is the limit");
    thresholds.recovery
}

/// Judges how long the queries for one name failed at a stretch.
fn judge_name(seen: &Observed, stream: Stream, event: &Event, limit: Duration, tally: &mut Tally) {
    let Some(track) = seen.track(stream) else {
        return tally.unknown(format!("{stream}: no such stream"));
    };
    let summary = track.summary(event.called);
    let micros = limit.as_micros() as u64;
    let what = format!("{stream}: {summary}");
    match track.figures(event.called).longest {
        Some(outage) if outage.at_least > micros => tally.finding(
            stream.to_string(),
            format!("no outage of more than {} ms", limit.as_millis()),
            summary,
        ),
        Some(outage) if outage.at_most.is_none_or(|most| most > micros) => tally.unknown(format!(
            "{what}; that does not tell whether the limit of {} ms is kept",
            limit.as_millis()
        )),
        Some(_) | None => tally.witness(what),
    }
}

async fn across(context: &CheckContext, spacing: Duration, component: Component) -> Result<Verdict, Unjudged> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let participants = Participants::of(context, from, workload::GLOBAL_BACKEND).await?;
    let cilium = participants.facts.cluster(from).and_then(|found| found.cilium.as_ref());
    if component == Component::MeshApiServer && !cilium.is_some_and(|cilium| cilium.kvstoremesh) {
        return Err(Verdict::skipped(format!(
            "{from} has no KVStoreMesh: its agents read other clusters' own etcd"
        ))
        .into());
    }
    let backends = workload::ready(context, to, workload::GLOBAL_BACKEND, 1).await?;
    let client = &participants.clients[0];
    let plan = Plan::of(context, &participants, client, "failover-remote", spacing)?;
    let recording = Recording::start(&plan, by(to)).await?;
    let ready_before = workload::ready_since(context, &backends).await;
    let until = match component {
        Component::MeshApiServer => match ServiceCounter::find(context, from, to).await {
            None => (None, SYNC_WATCHED),
            counter => (counter, SYNCED_WATCHED_AFTER),
        },
        _ => (None, OPERATOR_WATCHED_AFTER),
    };
    let (restarted, seen) = watched(context, recording, component, until).await?;
    let event = restarted.event;
    let mut tally = Tally::new();
    tally_failure(&mut tally, &restarted.restored);
    let local = seen.report_time(context, "first_local_answer", event.called, |series, since| {
        series.first_answer(since, |server| !by(to)(Some(server)))
    });
    for (stream, after) in local {
        tally.finding(
            stream.to_string(),
            format!("answered by {to} only, which the service prefers and which has backends"),
            format!(
                "answered by another cluster {} ms after the rollout began",
                after.as_millis()
            ),
        );
    }
    // Backends that are not ready get no traffic, whatever restarts.
    if ready_before.is_some() && ready_before != workload::ready_since(context, &backends).await {
        return Err(Verdict::inconclusive(format!(
            "the backends in {to} were not ready all the time, so who answered proves nothing about the restart"
        ))
        .into());
    }
    seen.judge_unnoticed(&mut tally, &TESTED, &event, &participants.facts.thresholds)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

/// Restarts a component while the streams run, and for some time after all its pods are new, and after it has counted
/// a new Service of the other cluster if it counts.
async fn watched(
    context: &CheckContext,
    mut recording: Recording<'_>,
    component: Component,
    (counter, after): (Option<ServiceCounter>, Duration),
) -> Result<(Disrupted<()>, Observed), Unjudged> {
    let cluster = context.instance.from();
    let disruption = Disruption::Rollout { component };
    // Restoring waits for the rollout.
    let restarted = while_disrupted(context, cluster, &disruption, |_| async { Ok(()) }).await;
    let restarted = match restarted {
        Ok(restarted) => restarted,
        Err(error) => {
            recording.stop().await?;
            return Err(unknown(error).into());
        }
    };
    if let Some(counter) = counter
        && counter
            .counts_new_service(context, &mut recording, SYNC_WITHIN)
            .await?
            .is_none()
    {
        context.note(format!(
            "KVStoreMesh counted no new Service of the other cluster within {} s; see suite mesh",
            SYNC_WITHIN.as_secs()
        ));
    }
    let since = now();
    let covered = recording
        .until(COVERED_WITHIN + after, |seen| seen.covers(since, after))
        .await?;
    let seen = recording.stop().await?;
    seen.report(context, &restarted.event);
    if restarted.restored.is_ok() {
        context.note(format!(
            "all pods were new and available {} ms after the rollout began",
            (restarted.restoring.returned - restarted.event.called).as_millis()
        ));
    }
    if let Some(unjudged) = seen.unusable(&restarted.event) {
        return Err(unjudged);
    }
    if !covered {
        return Err(Verdict::inconclusive("the streams did not run long enough after the restart").into());
    }
    Ok((restarted, seen))
}
