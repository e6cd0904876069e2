//! All local backends of a global service are deleted: the other cluster takes over; they return: so does the traffic.

use super::{
    check::FailoverCheck,
    event::Event,
    footprint,
    observed::Observed,
    participants::{Participants, REPLICAS, by},
    recording::{Plan, Recording},
    retry_when_busy::Unjudged,
    stream::{Stream, TESTED},
    workload::{self, tally_failure},
};
use meshproof_contract::{CheckContext, CheckText, ClusterName, Scope, Tally, Thresholds, Verdict};
use std::time::Duration;

/// Fail-over of a global service with affinity local to the other cluster, and fail-back.
pub const LOCAL_BACKENDS_GONE: FailoverCheck = FailoverCheck {
    id: "failover::local_backends_gone",
    text: CheckText {
        title: "Without local backends the other cluster answers until local ones are back",
        proves: "A global service with affinity local fails over to the other cluster when its last local backend is \
                 deleted, and fails back when local backends are ready again, for every kind of stream.",
        how: "Streams to Service failover-global run while its local Deployment is scaled to zero, until the other \
              cluster answers every stream (within `recovery` of the thresholds). Then it is scaled up again, until \
              only local backends answer new connections and datagrams (within `failBack` after they are ready).",
        control: "Before the event every answer comes from the own cluster. A pod on the client's node and one in the \
                  other cluster are probed at the same spacing.",
        when_red: "No fail-over: `cilium-dbg service list` on the client's node has no backends of the other cluster; \
                   see suites service and mesh. No fail-back: it has local backends and does not prefer them; \
                   `kubectl --context CONTEXT get services -A -o yaml` shows the affinity of failover-global.",
    },
    scope: Scope::Direction,
    admission: footprint::GLOBAL_BACKENDS,
    faults: &["fail-over-never", "fail-back-never"],
    attempt: |context, spacing| Box::pin(attempt(context, spacing)),
};

/// How long streams are watched beyond the limits.
const MARGIN: Duration = Duration::from_secs(2);

/// What happened, and when.
struct Failover<'a> {
    from: &'a ClusterName,
    to: &'a ClusterName,
    gone: Event,
    /// Whether the other cluster answered every stream in time, and which streams it did not answer.
    failed_over: (bool, String),
    /// Whether the local backends came back.
    restored: Result<(), Verdict>,
    back: Event,
    /// Whether only they answered new traffic in time, and which streams they did not answer.
    failed_back: (bool, String),
}

async fn attempt(context: &CheckContext, spacing: Duration) -> Result<Verdict, Unjudged> {
    let (from, to) = (context.instance.from(), context.instance.to());
    let participants = Participants::of(context, from, workload::GLOBAL_BACKEND).await?;
    workload::ready(context, to, workload::GLOBAL_BACKEND, 1).await?;
    let (client, backend) = (&participants.clients[0], &participants.backends[0]);
    let thresholds = &participants.facts.thresholds;
    let plan = Plan::of(context, &participants, client, "failover-global", spacing)?;
    let mut recording = Recording::start(&plan, by(from)).await?;
    let gone = Event::begin();
    workload::scale(context, backend, 0).await?;
    let gone = gone.end();
    let failed_over = recording
        .until(thresholds.recovery + MARGIN, |seen| {
            seen.all_stable(Some(gone.returned), &by(to))
        })
        .await;
    let not_over = recording.seen.unstable(Some(gone.returned), &by(to));
    // Whatever was seen, the backends come back.
    let scaled = workload::scale(context, backend, REPLICAS).await;
    let failed_over = failed_over?;
    let restored = match scaled {
        Ok(()) => workload::ready(context, from, workload::GLOBAL_BACKEND, REPLICAS)
            .await
            .map(drop),
        Err(_) => scaled,
    };
    let back = Event::begin();
    let mut failed_back = false;
    if failed_over && restored.is_ok() {
        let within = thresholds.fail_back + MARGIN;
        failed_back = recording
            .until(within, |seen| seen.fresh_stable(back.called, &by(from)))
            .await?;
    }
    let not_back = recording.seen.unstable(Some(back.called), &by(from));
    let seen = recording.stop().await?;
    let failover = Failover {
        from,
        to,
        gone,
        failed_over: (failed_over, not_over),
        restored,
        back,
        failed_back: (failed_back, not_back),
    };
    let tally = failover.judge(context, &seen, thresholds)?;
    plan.suggest_commands(&tally);
    Ok(tally.verdict())
}

impl Failover<'_> {
    fn judge(&self, context: &CheckContext, seen: &Observed, thresholds: &Thresholds) -> Result<Tally, Unjudged> {
        let (gone, back) = (self.gone, self.back);
        seen.report(context, &gone);
        let first_remote = seen.report_time(context, "first_remote_answer", gone.returned, |series, since| {
            series.first_answer(since, |server| by(self.to)(Some(server)))
        });
        seen.report_time(context, "last_stale_answer", gone.returned, |series, since| {
            let until = since + back.called.saturating_duration_since(gone.returned).as_micros() as u64;
            series.last_answered_before(since, until, |server| by(self.from)(Some(server)))
        });
        seen.report_time(context, "first_local_answer", back.called, |series, since| {
            series.first_answer(since, |server| by(self.from)(Some(server)))
        });
        let last_remote = seen.report_time(context, "fail_back", back.called, |series, since| {
            let last = series.last_answered(since, |server| by(self.to)(Some(server)));
            last.or(Some(since))
        });
        if let Some(unjudged) = seen.unusable(&gone) {
            return Err(unjudged);
        }
        let mut tally = Tally::new();
        tally_failure(&mut tally, &self.restored);
        self.judge_fail_over(seen, first_remote, thresholds, &mut tally);
        self.judge_fail_back(last_remote, thresholds, &mut tally);
        seen.judge_unnoticed(&mut tally, &[Stream::Dns], &gone, thresholds)?;
        Ok(tally)
    }

    fn judge_fail_over(
        &self,
        seen: &Observed,
        first_remote: Vec<(Stream, Duration)>,
        thresholds: &Thresholds,
        tally: &mut Tally,
    ) {
        let (from, to, limit) = (self.from, self.to, thresholds.recovery);
        let (failed_over, not_over) = &self.failed_over;
        if !failed_over {
            let expected = format!("every stream answered by {to} within {} s", limit.as_secs());
            return tally.finding(format!("{from} -> {to}"), expected, not_over);
        }
        for (stream, after) in first_remote {
            tally.witness(format!(
                "{stream}: first answer from {to} after {} ms",
                after.as_millis()
            ));
        }
        seen.judge_recovery(tally, &TESTED, &self.gone, limit);
    }

    fn judge_fail_back(&self, last_remote: Vec<(Stream, Duration)>, thresholds: &Thresholds, tally: &mut Tally) {
        let (from, to) = (self.from, self.to);
        if !self.failed_over.0 || self.restored.is_err() {
            return;
        }
        let (failed_back, not_back) = &self.failed_back;
        if !failed_back {
            let limit = thresholds.fail_back.as_secs();
            let expected = format!("new traffic answered in {from} only, {limit} s after its backends are ready");
            return tally.finding(format!("{to} -> {from}"), expected, not_back);
        }
        // A connection that the other cluster accepted may stay there.
        for (stream, after) in last_remote.into_iter().filter(|(stream, _)| stream.is_fresh()) {
            tally.witness(format!(
                "{stream}: last answer from {to} {} ms after the local backends were ready",
                after.as_millis()
            ));
        }
    }
}
