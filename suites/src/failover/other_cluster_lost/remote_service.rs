//! The service that prefers the lost cluster: what becomes of it meanwhile and afterwards.

use crate::failover::{now, participants::Service};
use meshproof_contract::{Action, AgentFacts, CheckContext, Outcome, Probe, Tally, Target, Unit, port};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How late Cilium detects that another cluster is away: nothing heard for two minutes (recorded: 124 s).
const DETECTED_WITHIN: Duration = Duration::from_secs(150);
/// Connections at a time.
const CONNECTIONS: usize = 8;
/// Between two rounds of these.
const INTERVAL: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_millis(250);

/// The service, as a client uses it.
pub struct RemoteService<'a> {
    pub context: &'a CheckContext,
    pub client: &'a AgentFacts,
    pub service: Service,
    /// After how long Cilium withdraws the backends of a cluster that is away; none: never.
    pub cache_ttl: Option<Duration>,
}

/// What became of its remote backends while their cluster was away.
pub enum Withdrawal {
    /// Without a TTL they stay: so many connections were lost.
    Never { lost: usize },
    /// With a TTL the own cluster must answer within the limit; after how long it did.
    After { limit: Duration, took: Option<Duration> },
}

impl RemoteService<'_> {
    /// Which cluster answers each of a few new connections; none for a loss.
    async fn answering_clusters(&self) -> Vec<Option<String>> {
        let probe = || {
            let to = Target::new(self.service.address.to_string(), port::TCP);
            Probe::once(Action::TcpEcho { to, payload: 32 }, DEADLINE)
        };
        let probes = (0..CONNECTIONS).map(|_| probe()).collect();
        let outcomes = self.context.environment.probe(&self.client.id, probes).await;
        let cluster = |outcome: &Outcome| {
            let server = outcome.served_by().filter(|_| outcome.is_success());
            server.map(|identity| identity.cluster.clone())
        };
        outcomes.unwrap_or_default().iter().map(cluster).collect()
    }

    /// How long it took until the cluster answered all connections; none if it did not in that time.
    pub async fn answered_by(&self, cluster: &str, since: Instant, within: Duration) -> Option<Duration> {
        loop {
            let begun = now();
            let answers = self.answering_clusters().await;
            if answers.len() == CONNECTIONS && answers.iter().all(|by| by.as_deref() == Some(cluster)) {
                return Some(begun - since);
            }
            if now() - since > within {
                return None;
            }
            sleep(INTERVAL).await;
        }
    }

    /// What became of the remote backends since their cluster was lost.
    pub async fn withdrawal(&self, since: Instant) -> Withdrawal {
        let Some(ttl) = self.cache_ttl else {
            let answers = self.answering_clusters().await;
            let lost = answers.iter().filter(|by| by.is_none()).count();
            return Withdrawal::Never { lost };
        };
        let limit = DETECTED_WITHIN + ttl;
        let own = self.client.id.cluster.as_str();
        Withdrawal::After {
            limit,
            took: self.answered_by(own, since, limit).await,
        }
    }
}

impl Withdrawal {
    /// Leaves it in the report, and judges it where there is a limit.
    pub fn judge(&self, context: &CheckContext, tally: &mut Tally) {
        match self {
            Withdrawal::Never { lost } => context.note(format!(
                "failover-remote, which prefers the lost cluster, lost {lost} of {CONNECTIONS} connections: without \
                 clustermesh-cache-ttl its remote backends stay"
            )),
            Withdrawal::After {
                limit,
                took: Some(took),
            } => {
                let millis = took.as_secs_f64() * 1000.0;
                context.measure("withdrawn_after", "failover-remote", millis, Unit::Milliseconds);
                tally.witness(format!(
                    "failover-remote: local backends answered {millis:.0} ms after the loss (limit: {} s)",
                    limit.as_secs()
                ));
            }
            Withdrawal::After { limit, took: None } => tally.finding(
                "failover-remote",
                format!(
                    "answered by local backends within {} s of the loss (detection plus clustermesh-cache-ttl)",
                    limit.as_secs()
                ),
                "not answered by local backends",
            ),
        }
    }
}
