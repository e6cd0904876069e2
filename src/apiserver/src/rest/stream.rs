//! The streams of containers over HTTP: which container is meant, and what carries the bytes.

pub(crate) mod exec;
pub(crate) mod log;
pub(crate) mod port_forward;

use super::{call::Call, path::ResolvedPath};
use crate::{error::ApiError, object::Object, resource::names::PODS};

fn find_pod(call: &Call, path: &ResolvedPath<'_>) -> Result<Object, ApiError> {
    call.api.store.get(&PODS, path.namespace, path.name()?)
}

/// The pod, if its containers can be reached: on a node and not ended.
fn running_pod(call: &Call, path: &ResolvedPath<'_>) -> Result<Object, ApiError> {
    let pod = find_pod(call, path)?;
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.name()
        )));
    }
    match pod["status"]["phase"].as_str() {
        Some(phase @ ("Succeeded" | "Failed")) => Err(ApiError::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(pod),
    }
}

/// The container of the query, or the only one; 400 when that is not clear or does not exist.
fn container(call: &Call, pod: &Object) -> Result<String, ApiError> {
    let names = |field: &str| {
        let list = pod["spec"][field].as_array().into_iter().flatten();
        list.filter_map(|c| c["name"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let usual = names("containers");
    match call.query.first("container").filter(|name| !name.is_empty()) {
        Some(wanted) => {
            let all = [usual, names("initContainers"), names("ephemeralContainers")].concat();
            if all.iter().any(|name| name == wanted) {
                return Ok(wanted.to_owned());
            }
            Err(ApiError::bad_request(format!(
                "container {wanted} is not valid for pod {}",
                pod.name()
            )))
        }
        None => match usual.as_slice() {
            [only] => Ok(only.clone()),
            several => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                pod.name(),
                several.join(" "),
            ))),
        },
    }
}
