//! The agent's controllers: periodic tasks by name, with how often they have succeeded. The lab's tasks never fail, so
//! the counts follow from how long ago they were started.

use super::super::{
    time::{NEVER, duration, millis},
    view::{AgentView, EndpointKind, EndpointView},
};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// A task.
struct Task {
    name: String,
    /// None for tasks that run when something happens.
    interval: Option<Duration>,
    retry_base: Option<Duration>,
    since: SystemTime,
    /// False for tasks that run only after failures.
    runs: bool,
}

impl Task {
    fn every(name: impl Into<String>, interval: Duration, since: SystemTime) -> Self {
        Self {
            name: name.into(),
            interval: Some(interval),
            retry_base: None,
            since,
            runs: true,
        }
    }

    fn once(name: impl Into<String>, since: SystemTime) -> Self {
        Self {
            name: name.into(),
            interval: None,
            retry_base: None,
            since,
            runs: true,
        }
    }

    fn value(&self, now: SystemTime) -> Value {
        let mut configuration = json!({"error-retry": true});
        if let Some(base) = self.retry_base {
            configuration["error-retry-base"] = json!(duration(base));
        }
        if let Some(interval) = self.interval {
            configuration["interval"] = json!(duration(interval));
        }
        let mut status = json!({"last-failure-timestamp": NEVER, "last-success-timestamp": NEVER});
        if self.runs {
            let passed = now.duration_since(self.since).unwrap_or_default();
            let rounds = self
                .interval
                .map_or(0, |interval| passed.as_nanos() / interval.as_nanos().max(1));
            let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
            let last = self.since + self.interval.unwrap_or_default() * rounds;
            status["last-success-timestamp"] = json!(millis(last));
            status["success-count"] = json!(u64::from(rounds) + 1);
        }
        let uuid = uuid(&self.name, self.since);
        json!({"configuration": configuration, "name": self.name, "status": status, "uuid": uuid})
    }

    /// The same of one whose writes the API server refuses.
    fn forbidden(&self, now: SystemTime) -> Value {
        let mut value = self.value(now);
        let status = &mut value["status"];
        status["consecutive-failure-count"] = json!(REFUSED);
        status["failure-count"] = json!(REFUSED);
        status["last-failure-timestamp"] = json!(millis(now));
        status["last-failure-msg"] = json!(
            "ciliumendpoints.cilium.io is forbidden: User \"system:serviceaccount:kube-system:cilium\" cannot patch \
             resource \"ciliumendpoints\" in API group \"cilium.io\""
        );
        value
    }
}

/// The controller that writes an endpoint's CiliumEndpoint.
const ENDPOINT_OBJECTS: &str = "sync-to-k8s-ciliumendpoint";
/// So often it has failed a minute after its right was taken.
const REFUSED: u64 = 6;

/// The same task has the same uuid in every output.
fn uuid(name: &str, since: SystemTime) -> String {
    let seed = since
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let hash = name.bytes().fold(seed ^ 0x6c62_272e_07bb_0142, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    uuid::Builder::from_random_bytes(hash.to_be_bytes())
        .into_uuid()
        .to_string()
}

const MINUTE: Duration = Duration::from_secs(60);

/// The controllers of one endpoint.
pub fn of_endpoint(endpoint: &EndpointView, now: SystemTime) -> Vec<Value> {
    tasks_of_endpoint(endpoint).iter().map(|task| task.value(now)).collect()
}

fn tasks_of_endpoint(endpoint: &EndpointView) -> Vec<Task> {
    let (id, since) = (endpoint.id, endpoint.created);
    let mut tasks = vec![
        Task {
            retry_base: Some(Duration::from_secs(2)),
            runs: false,
            ..Task::every(
                format!("endpoint-{id}-regeneration-recovery"),
                Duration::from_secs(1),
                since,
            )
        },
        Task::every(format!("resolve-identity-{id}"), 5 * MINUTE, since),
    ];
    if let EndpointKind::Pod { namespace, name, .. } = &endpoint.kind {
        tasks.push(Task::once(format!("resolve-labels-{namespace}/{name}"), since));
        tasks.push(Task::every(
            format!("{ENDPOINT_OBJECTS} ({id})"),
            Duration::from_secs(10),
            since,
        ));
    }
    tasks.push(Task::every(format!("sync-policymap-{id}"), 15 * MINUTE, since));
    tasks
}

/// All controllers of the agent.
pub fn all(view: &AgentView) -> Vec<Value> {
    let since = view.started;
    let mut tasks = vec![
        Task::every("cilium-health-ep", MINUTE, since),
        Task::every("ct-map-pressure", Duration::from_secs(30), since),
        Task::once("daemon-validate-config", since),
        Task::every("endpoint-gc", 5 * MINUTE, since),
        Task::every("endpoint-periodic-regeneration", 2 * MINUTE, since),
        Task::once("ipcache-inject-labels", since),
        Task::every("k8s-heartbeat", Duration::from_secs(30), since),
        Task::once("local-identity-checkpoint", since),
        Task::once("proxy-ports-checkpoint", since),
        Task::every("sync-utime", MINUTE, since),
        Task {
            retry_base: Some(Duration::from_secs(10)),
            ..Task::once("write-cni-file", since)
        },
    ];
    tasks.extend(
        view.remotes
            .iter()
            .map(|remote| Task::every(format!("remote-etcd-{}", remote.name), 4 * MINUTE, since)),
    );
    tasks.extend(view.endpoints.iter().flat_map(tasks_of_endpoint));
    let value = |task: &Task| match view.is_forbidden && task.name.starts_with(ENDPOINT_OBJECTS) {
        true => task.forbidden(view.now),
        false => task.value(view.now),
    };
    tasks.iter().map(value).collect()
}
