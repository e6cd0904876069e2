//! What one DNS replica answers for one name, as any node sees it.

use crate::kit::{
    dns::{
        question::{Answer, Expected, judge},
        zone::{Zone, address_record},
    },
    probes,
    wait::{self, Waited},
};
use futures::future::join_all;
use meshproof_contract::{CheckContext, DnsReplica, Transport};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const INTERVAL: Duration = Duration::from_millis(250);

/// What one replica shows of the fresh name.
pub struct Watch<'a> {
    pub context: &'a CheckContext,
    pub zone: &'a Zone,
    pub replica: &'a DnsReplica,
    /// The name asked for.
    pub name: &'a str,
    /// An address of the family that is asked for.
    pub address: IpAddr,
}

impl Watch<'_> {
    /// Whether the replica gives the expected answer to any node: the state is the replica's, not the path's, which
    /// dns::replica_answers judges.
    pub async fn shows(&self, expected: &Expected) -> Result<(), Answer> {
        let server = SocketAddr::new(self.replica.address, self.replica.port);
        let probe = probes::dns(self.name, address_record(self.address), Some(server), Transport::Udp);
        let answers = join_all(self.zone.askers.iter().map(|asker| {
            let probe = probe.clone();
            async move {
                match self.context.environment.probe(&asker.id, vec![probe]).await {
                    Ok(outcomes) => outcomes.first().map_or_else(
                        || Answer::Unknown("the agent returned no outcome".to_owned()),
                        |o| judge(self.zone, expected, o),
                    ),
                    Err(error) => Answer::Unknown(error.to_string()),
                }
            }
        }))
        .await;
        answers
            .into_iter()
            .min_by_key(|answer| match answer {
                Answer::Ok(_) => 0,
                Answer::Mismatch(_) => 1,
                Answer::NoAnswer(_) => 2,
                Answer::Unknown(_) => 3,
            })
            .map_or_else(
                || Err(Answer::Unknown("no node asked".to_owned())),
                |best| {
                    if matches!(best, Answer::Ok(_)) {
                        Ok(())
                    } else {
                        Err(best)
                    }
                },
            )
    }

    /// Waits for that answer.
    pub async fn until(&self, expected: Expected, deadline: Duration) -> Waited<(), Answer> {
        wait::until(deadline, INTERVAL, || self.shows(&expected)).await
    }
}
