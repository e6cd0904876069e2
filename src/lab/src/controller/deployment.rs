//! Deployments: one ReplicaSet a template, scaled up and down as a rolling update allows.

use super::{Again, Controller, rollout::Replicas};
use crate::object::{self, Rounding, number, owner_reference, share, template_hash};
use meshproof_apiserver::{
    ApiError, DeleteOptions, Object, Resource, Store,
    resource::names::{DEPLOYMENTS, REPLICA_SETS},
};
use serde_json::{Value, json};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

pub(super) struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[DEPLOYMENTS, REPLICA_SETS] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        for deployment in store.all(&DEPLOYMENTS, None) {
            if !deployment.is_terminating() {
                reconcile(store, &deployment)?;
            }
        }
        Ok(None)
    }
}

fn reconcile(store: &Store, deployment: &Object) -> Result<(), ApiError> {
    let hash = template_hash(&deployment["spec"]["template"]);
    let mut sets = sets_of(store, deployment);
    let paused = deployment["spec"]["paused"] == true;
    if !paused || sets.is_empty() {
        make_newest(store, deployment, &hash, &sets)?;
        sets = sets_of(store, deployment);
    }
    let (new, old): (Vec<_>, Vec<_>) = sets.iter().partition(|set| set.label(HASH) == Some(&hash));
    if let Some(new) = new.first() {
        match deployment["spec"]["strategy"]["type"].as_str() {
            Some("Recreate") => recreate(store, deployment, new, &old)?,
            _ => roll(store, deployment, new, &old)?,
        }
        forget_oldest(store, deployment, &old)?;
    }
    report(store, deployment, &hash)
}

fn sets_of(store: &Store, deployment: &Object) -> Vec<Object> {
    let mut sets = store.all(&REPLICA_SETS, deployment.namespace());
    sets.retain(|set| set.controller_uid() == Some(deployment.uid()));
    sets.sort_by_key(revision);
    sets
}

fn revision(set: &Object) -> i64 {
    set.annotation(REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Makes the ReplicaSet of the present template, or gives an older one that is wanted again the highest revision.
fn make_newest(store: &Store, deployment: &Object, hash: &str, sets: &[Object]) -> Result<(), ApiError> {
    let highest = sets.iter().map(revision).max().unwrap_or_default();
    let number = match sets.iter().find(|set| set.label(HASH) == Some(hash)) {
        Some(set) if revision(set) == highest => highest,
        Some(set) => {
            store.modify(&REPLICA_SETS, set.namespace(), set.name(), |set| {
                set["metadata"]["annotations"][REVISION] = json!((highest + 1).to_string());
            })?;
            highest + 1
        }
        None => {
            store.create(&REPLICA_SETS, set_of(deployment, hash, highest + 1))?;
            highest + 1
        }
    };
    if deployment.annotation(REVISION) != Some(&number.to_string()) {
        store.modify(&DEPLOYMENTS, deployment.namespace(), deployment.name(), |deployment| {
            deployment["metadata"]["annotations"][REVISION] = json!(number.to_string());
        })?;
    }
    Ok(())
}

fn set_of(deployment: &Object, hash: &str, revision: i64) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = json!(hash);
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = json!(hash);
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", deployment.name()), "namespace": deployment.namespace(),
            "labels": template["metadata"]["labels"], "annotations": {REVISION: revision.to_string()},
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": 0, "minReadySeconds": number(&deployment["spec"]["minReadySeconds"], 0),
            "selector": selector, "template": template,
        },
    })
}

fn roll(store: &Store, deployment: &Object, new: &Object, old: &[&Object]) -> Result<(), ApiError> {
    let wanted = number(&deployment["spec"]["replicas"], 1);
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let now = |new_wanted: i64| Replicas {
        wanted,
        max_surge: share(&rolling["maxSurge"], "25%", wanted, Rounding::Up),
        max_unavailable: share(&rolling["maxUnavailable"], "25%", wanted, Rounding::Down),
        new: new_wanted,
        new_available: number(&new["status"]["availableReplicas"], 0),
        old: old.iter().map(|set| wanted_of(set)).sum(),
        old_available: old
            .iter()
            .map(|set| number(&set["status"]["availableReplicas"], 0).min(wanted_of(set)))
            .sum(),
    };
    let next = now(wanted_of(new)).next_new();
    resize(store, new, next)?;
    let mut left = now(next).old_to_remove();
    // The sets with the least use first, so that what still answers goes last.
    let mut old = old.to_vec();
    old.sort_by_key(|set| number(&set["status"]["availableReplicas"], 0));
    for set in old {
        let removed = left.min(wanted_of(set));
        resize(store, set, wanted_of(set) - removed)?;
        left -= removed;
    }
    Ok(())
}

fn recreate(store: &Store, deployment: &Object, new: &Object, old: &[&Object]) -> Result<(), ApiError> {
    for set in old {
        resize(store, set, 0)?;
    }
    let gone = old.iter().all(|set| object::pods_of(store, set).is_empty());
    if gone {
        resize(store, new, number(&deployment["spec"]["replicas"], 1))
    } else {
        Ok(())
    }
}

fn wanted_of(set: &Object) -> i64 {
    number(&set["spec"]["replicas"], 0)
}

fn resize(store: &Store, set: &Object, replicas: i64) -> Result<(), ApiError> {
    if wanted_of(set) == replicas {
        return Ok(());
    }
    let resized = store.modify(&REPLICA_SETS, set.namespace(), set.name(), |set| {
        set["spec"]["replicas"] = json!(replicas);
    });
    resized.map(|_| ())
}

fn forget_oldest(store: &Store, deployment: &Object, old: &[&Object]) -> Result<(), ApiError> {
    let limit = usize::try_from(number(&deployment["spec"]["revisionHistoryLimit"], 10)).unwrap_or_default();
    let empty = old
        .iter()
        .filter(|set| wanted_of(set) == 0 && number(&set["status"]["replicas"], 0) == 0);
    let empty: Vec<_> = empty.collect();
    for set in &empty[..empty.len().saturating_sub(limit)] {
        store.delete(
            &REPLICA_SETS,
            set.namespace(),
            set.name(),
            &DeleteOptions::default().only_uid(set.uid()),
        )?;
    }
    Ok(())
}

fn report(store: &Store, deployment: &Object, hash: &str) -> Result<(), ApiError> {
    let sets = sets_of(store, deployment);
    let sum = |field: &str| sets.iter().map(|set| number(&set["status"][field], 0)).sum::<i64>();
    let updated = sets.iter().find(|set| set.label(HASH) == Some(hash));
    let updated = updated.map_or(0, |set| number(&set["status"]["replicas"], 0));
    let (wanted, total, available) = (
        number(&deployment["spec"]["replicas"], 1),
        sum("replicas"),
        sum("availableReplicas"),
    );
    let mut new = deployment.to_value();
    let conditions = new["status"]["conditions"].take();
    new["status"] = json!({"observedGeneration": deployment.generation()});
    let counts = [
        ("replicas", total),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", wanted.max(total) - available),
    ];
    for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        new["status"][field] = json!(count);
    }
    if conditions.is_array() {
        new["status"]["conditions"] = conditions;
    }
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let missing = share(&rolling["maxUnavailable"], "25%", wanted, Rounding::Down);
    if available >= wanted - missing {
        let message = "Deployment has minimum availability.";
        object::set_condition(&mut new, "Available", "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.";
        object::set_condition(&mut new, "Available", "False", "MinimumReplicasUnavailable", message);
    }
    let set = format!("{}-{hash}", deployment.name());
    if updated >= wanted && total == updated && available >= wanted {
        let message = format!("ReplicaSet \"{set}\" has successfully progressed.");
        object::set_condition(&mut new, "Progressing", "True", "NewReplicaSetAvailable", &message);
    } else {
        let message = format!("ReplicaSet \"{set}\" is progressing.");
        object::set_condition(&mut new, "Progressing", "True", "ReplicaSetUpdated", &message);
    }
    if new["status"] == deployment["status"] {
        return Ok(());
    }
    let status = new["status"].take();
    let changed = store.modify_status(&DEPLOYMENTS, deployment.namespace(), deployment.name(), |deployment| {
        deployment["status"].clone_from(&status);
    });
    changed.map(|_| ())
}
