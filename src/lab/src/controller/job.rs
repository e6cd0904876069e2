//! Jobs: pods until enough of them have succeeded. Indexed completion is not known.

use super::{Again, Controller};
use crate::object::{self, condition, delete_pod, is_active, is_ready, number, pod_of, pods_of, set_condition};
use meshproof_apiserver::{
    ApiError, DeleteOptions, Object, Resource, Store,
    resource::names::{JOBS, PODS},
};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct Jobs;

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[JOBS, PODS] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        let mut again = None;
        for job in store.all(&JOBS, None) {
            if job.is_terminating() {
                continue;
            }
            if is_finished(&job) {
                again = expire(store, &job)?.into_iter().chain(again).min();
            } else {
                reconcile(store, &job)?;
            }
        }
        Ok(again)
    }
}

fn is_finished(job: &Object) -> bool {
    ["Complete", "Failed"]
        .iter()
        .any(|kind| condition(job, kind).is_some_and(|c| c["status"] == "True"))
}

/// Deletes a finished job after `ttlSecondsAfterFinished`; how long until then.
fn expire(store: &Store, job: &Object) -> Result<Again, ApiError> {
    let Some(ttl) = job["spec"]["ttlSecondsAfterFinished"].as_u64() else {
        return Ok(None);
    };
    let end = ["Complete", "Failed"].iter().find_map(|kind| condition(job, kind));
    let age = end
        .and_then(|end| object::since(&end["lastTransitionTime"]))
        .unwrap_or_default();
    let left = Duration::from_secs(ttl).saturating_sub(age);
    if !left.is_zero() {
        return Ok(Some(left));
    }
    store
        .delete(
            &JOBS,
            job.namespace(),
            job.name(),
            &DeleteOptions::default().only_uid(job.uid()),
        )
        .map(|_| None)
}

fn reconcile(store: &Store, job: &Object) -> Result<(), ApiError> {
    let spec = &job["spec"];
    let pods = pods_of(store, job);
    let phase = |wanted: &str| pods.iter().filter(|pod| pod["status"]["phase"] == wanted).count() as i64;
    let (succeeded, failed) = (phase("Succeeded"), phase("Failed"));
    let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).collect();
    let wanted = spec["completions"]
        .as_i64()
        .unwrap_or(if spec["parallelism"].is_null() { 1 } else { i64::MAX });
    let enough = if wanted == i64::MAX {
        succeeded > 0 && active.is_empty()
    } else {
        succeeded >= wanted
    };
    let restarts: i64 = active
        .iter()
        .flat_map(|pod| pod["status"]["containerStatuses"].as_array().into_iter().flatten())
        .map(|status| number(&status["restartCount"], 0))
        .sum();
    let hopeless = failed + restarts > number(&spec["backoffLimit"], 6);
    let suspended = spec["suspend"] == true;
    if enough || hopeless || suspended {
        for pod in &active {
            delete_pod(store, pod)?;
        }
    } else {
        let parallel = number(&spec["parallelism"], 1).min(wanted.saturating_sub(succeeded));
        for _ in active.len() as i64..parallel {
            store.create(&PODS, pod(job))?;
        }
    }
    let mut new = job.to_value();
    if new["status"]["startTime"].is_null() && !suspended {
        new["status"]["startTime"] = json!(object::now());
    }
    let now_active = pods_of(store, job).into_iter().filter(is_active).collect::<Vec<_>>();
    let ready = now_active.iter().filter(|pod| is_ready(pod)).count() as i64;
    for (field, count) in [
        ("active", now_active.len() as i64),
        ("succeeded", succeeded),
        ("failed", failed),
    ] {
        new["status"][field] = if count > 0 { json!(count) } else { Value::Null };
    }
    new["status"]["ready"] = json!(ready);
    if enough {
        new["status"]["completionTime"] = json!(object::now());
        let message = "Reached expected number of succeeded pods";
        set_condition(&mut new, "SuccessCriteriaMet", "True", "CompletionsReached", message);
        set_condition(&mut new, "Complete", "True", "CompletionsReached", message);
    } else if hopeless {
        let message = "Job has reached the specified backoff limit";
        set_condition(&mut new, "Failed", "True", "BackoffLimitExceeded", message);
    }
    let mut status = new["status"].take();
    if let Some(status) = status.as_object_mut() {
        status.retain(|_, value| !value.is_null());
    }
    if status == job["status"] {
        return Ok(());
    }
    let changed = store.modify_status(&JOBS, job.namespace(), job.name(), |job| {
        job["status"].clone_from(&status)
    });
    changed.map(|_| ())
}

fn pod(job: &Object) -> Value {
    let mut pod = pod_of(job, &job["spec"]["template"], None);
    for prefix in ["", "batch.kubernetes.io/"] {
        pod["metadata"]["labels"][format!("{prefix}job-name")] = json!(job.name());
        pod["metadata"]["labels"][format!("{prefix}controller-uid")] = json!(job.uid());
    }
    pod
}
