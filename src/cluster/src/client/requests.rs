//! Counts the requests that a client sends, by verb and resource. Knows the paths of the Kubernetes API and nothing of
//! what requests are for.

use http::{Method, Request};
use meshproof_contract::{ApiRequests, ClusterName};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tower::{Layer, Service};

/// The requests of one client so far; clones count together.
#[derive(Clone, Debug, Default)]
pub struct RequestCounter {
    counts: Arc<Mutex<BTreeMap<Call, u64>>>,
}

/// What a request does to what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    verb: &'static str,
    resource: String,
    command: Option<String>,
}

impl RequestCounter {
    /// What was counted.
    pub fn requests(&self, cluster: &ClusterName) -> Vec<ApiRequests> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = counts.iter().map(|(call, count)| ApiRequests {
            cluster: cluster.clone(),
            verb: call.verb.to_owned(),
            resource: call.resource.clone(),
            command: call.command.clone(),
            count: *count,
        });
        rows.collect()
    }

    fn count(&self, call: Call) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(call).or_default() += 1;
    }
}

impl<S> Layer<S> for RequestCounter {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            counter: self.clone(),
        }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    counter: RequestCounter,
}

impl<S, B> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let uri = request.uri();
        self.counter
            .count(Call::of(request.method(), uri.path(), uri.query().unwrap_or_default()));
        self.inner.call(request)
    }
}

impl Call {
    /// Paths are those of `k8s.io/apiserver`'s request info: `/api/v1/namespaces/NS/pods/NAME/exec`,
    /// `/apis/GROUP/VERSION/RESOURCE`.
    fn of(method: &Method, path: &str, query: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        // A server behind a proxy has a path of its own before that of the API.
        let api = parts.iter().position(|part| *part == "api" || *part == "apis");
        let rest = api.map_or(&[][..], |at| &parts[at..]);
        let (group, rest) = match rest {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => ("", &[][..]),
        };
        let (resource, name, subresource) = match rest {
            ["namespaces", _, resource, rest @ ..] => (*resource, rest.first(), rest.get(1)),
            [resource, rest @ ..] => (*resource, rest.first(), rest.get(1)),
            [] => {
                return Self {
                    verb: "get",
                    resource: path.to_owned(),
                    command: None,
                };
            }
        };
        let mut resource = resource.to_owned();
        if !group.is_empty() {
            resource = format!("{resource}.{group}");
        }
        let is_watch = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match (method, name, subresource) {
            (_, Some(_), Some(&("exec" | "portforward" | "attach" | "proxy"))) => "connect",
            (&Method::GET, ..) if is_watch => "watch",
            (&Method::GET, Some(_), _) => "get",
            (&Method::GET, None, _) => "list",
            (&Method::POST, ..) => "create",
            (&Method::PUT, ..) => "update",
            (&Method::PATCH, ..) => "patch",
            (&Method::DELETE, Some(_), _) => "delete",
            (&Method::DELETE, None, _) => "deletecollection",
            _ => "other",
        };
        if let Some(subresource) = subresource {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            verb,
            resource,
            command: command(query),
        }
    }
}

/// The words of an exec's command without its options.
fn command(query: &str) -> Option<String> {
    let words = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    let words: Vec<String> = words
        .take_while(|word| !word.starts_with('-'))
        .map(|word| word.replace("%2F", "/"))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_named_as_rbac_names_it() {
        let of = |method: Method, target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let Call {
                verb,
                resource,
                command,
            } = Call::of(&method, path, query);
            format!("{verb} {resource} {}", command.unwrap_or_default())
                .trim_end()
                .to_owned()
        };
        for (method, target, expected) in [
            (Method::GET, "/version", "get /version"),
            (Method::GET, "/apis/apps/v1", "get /apis/apps/v1"),
            (Method::GET, "/api/v1/nodes?limit=500", "list nodes"),
            (Method::GET, "/api/v1/namespaces/kube-system", "get namespaces"),
            (Method::GET, "/api/v1/namespaces/a/pods?watch=true&x=1", "watch pods"),
            (Method::GET, "/proxy/c-1/api/v1/pods", "list pods"),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/daemonsets/b?force=true",
                "patch daemonsets.apps",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods/b/exec?command=a&command=b&command=-c",
                "connect pods/exec a b",
            ),
            (
                Method::DELETE,
                "/apis/cilium.io/v2/ciliumnetworkpolicies",
                "deletecollection ciliumnetworkpolicies.cilium.io",
            ),
            (Method::DELETE, "/api/v1/namespaces/a", "delete namespaces"),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "patch deployments.apps/scale",
            ),
            (Method::POST, "/api/v1/namespaces", "create namespaces"),
        ] {
            assert_eq!(of(method, target), expected, "{target}");
        }
    }
}
