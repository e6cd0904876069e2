//! Objects that a check makes for cluster DNS to learn of, so that what is judged is the answer and not the time that
//! learning takes, which dns::replica_learns judges.

use crate::kit::{
    dns::zone::Zone,
    probes,
    wait::{self, Waited},
};
use futures::future::join_all;
use meshproof_contract::{CheckContext, DnsCode, ObjectRef, Outcome, Probe, RecordType, Transport, Verdict};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};

/// As long as dns::replica_learns gives a replica.
const LEARN: Duration = Duration::from_secs(15);
const INTERVAL: Duration = Duration::from_millis(250);

/// Creates an object; inconclusive where that is refused.
pub async fn create(context: &CheckContext, object: Value) -> Result<Value, Verdict> {
    let cluster = context.instance.from();
    let created = context.environment.apply(cluster, object.clone()).await;
    created.map_err(|error| {
        let kind = object["kind"].as_str().unwrap_or("object");
        Verdict::inconclusive(format!(
            "the {kind} that DNS is to answer for could not be created: {error}"
        ))
    })
}

/// Gives a Service back.
pub async fn discard(context: &CheckContext, namespace: &str, name: &str) {
    let cluster = context.instance.from();
    let object = ObjectRef::namespaced("v1", "Service", namespace, name);
    if let Err(error) = context.environment.discard(cluster, &object).await {
        context.note(format!(
            "Service {name} stays in {cluster} until the end of the run: {error}"
        ));
    }
}

/// Waits until every replica knows an absolute name, whatever it says of its addresses; inconclusive if one does not.
pub async fn known(context: &CheckContext, zone: &Zone, name: &str) -> Result<(), Verdict> {
    let replicas = zone.replicas().map_err(Verdict::inconclusive)?;
    let waits = replicas.iter().map(|replica| async move {
        let server = SocketAddr::new(replica.address, replica.port);
        let probe = probes::dns(name, RecordType::A, Some(server), Transport::Udp);
        let probe = &probe;
        let waited = wait::until(LEARN, INTERVAL, || knows(context, zone, probe)).await;
        (replica, waited)
    });
    for (replica, waited) in join_all(waits).await {
        if let Waited::GaveUp(last) = waited {
            return Err(Verdict::inconclusive(format!(
                "replica {} did not know {name} within {} s: {last}; see dns::replica_learns",
                replica.pod,
                LEARN.as_secs()
            )));
        }
    }
    Ok(())
}

/// Whether the answer to any node is NOERROR, else what one of them got: the state is the replica's, not the path's.
async fn knows(context: &CheckContext, zone: &Zone, probe: &Probe) -> Result<(), String> {
    let asking = zone
        .askers
        .iter()
        .map(|asker| context.environment.probe(&asker.id, vec![probe.clone()]));
    let mut last = "no node asked".to_owned();
    for outcomes in join_all(asking).await {
        match outcomes.as_deref().map(<[Outcome]>::first) {
            Ok(Some(Outcome::Dns {
                code: DnsCode::NoError, ..
            })) => return Ok(()),
            Ok(Some(other)) => last = other.to_string(),
            Ok(None) => {}
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}
