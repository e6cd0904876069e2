//! What extends the API answers: aggregated APIs, and the Services behind webhooks.

use super::{
    inventory::{condition, text},
    looks::{Look, Seen, conclude},
};
use crate::kit::recent::{self, Age};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Scope, Verdict};
use serde_json::Value;

/// APIServices and webhooks.
pub struct Extensions;

#[async_trait]
impl Check for Extensions {
    fn id(&self) -> CheckId {
        CheckId::from("components::api_extensions")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Aggregated APIs are available, and every webhook's Service has somebody behind it",
            proves: "No API request waits for, or fails at, something that is gone: an unavailable API stops deletions \
                     of namespaces, and a webhook without a server refuses objects or delays them.",
            how: "The APIServices must be Available. For each webhook of a ValidatingWebhookConfiguration or \
                  MutatingWebhookConfiguration with a Service, the Service must exist, and with failurePolicy Fail \
                  have a ready endpoint. What is wrong is read again after 10 s.",
            control: "At least one APIService must be found available; otherwise the check is inconclusive.",
            when_red: "`kubectl --context CONTEXT get apiservices` and `kubectl --context CONTEXT get \
                       validatingwebhookconfigurations,mutatingwebhookconfigurations` list them. What is left over \
                       from something that was removed: delete it.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["api-service-unavailable", "webhook-left"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        conclude(context, self).await
    }
}

/// The kinds of webhook configurations.
pub const WEBHOOKS: [(&str, &str); 2] = [
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
];

#[async_trait]
impl Look for Extensions {
    async fn look(&self, context: &CheckContext, age: Age) -> Seen {
        let mut seen = Seen::default();
        let cluster = context.instance.from();
        let list = |kind| recent::list_any(context, cluster, kind, age);
        let (apis, validating, mutating, services, slices) = futures::join!(
            list(("apiregistration.k8s.io/v1", "APIService")),
            list(WEBHOOKS[0]),
            list(WEBHOOKS[1]),
            list(("v1", "Service")),
            list(("discovery.k8s.io/v1", "EndpointSlice")),
        );
        if let Some(apis) = seen.read("APIServices", cluster, apis) {
            judge_apis(&apis, &mut seen);
        }
        let configurations = [
            seen.read(WEBHOOKS[0].1, cluster, validating),
            seen.read(WEBHOOKS[1].1, cluster, mutating),
        ];
        let services = seen.read("Services", cluster, services);
        let slices = seen.read("EndpointSlices", cluster, slices);
        if let (Some(services), Some(slices)) = (services, slices) {
            for configuration in configurations.iter().flatten().flat_map(|list| list.iter()) {
                judge_webhooks(configuration, &services, &slices, &mut seen);
            }
        }
        seen
    }
}

fn judge_apis(apis: &[Value], seen: &mut Seen) {
    let mut available = 0;
    for api in apis {
        let name = text(&api["metadata"]["name"]);
        match condition(api, "Available").filter(|one| one["status"] != "True") {
            None => available += 1,
            Some(one) => seen.deviates(
                format!("APIService {name}"),
                "Available",
                format!("{}: {}", text(&one["reason"]), text(&one["message"])),
                format!("get apiservice {name} -o yaml"),
            ),
        }
    }
    if available > 0 {
        seen.witness(format!("{available} APIServices are available"));
    }
}

fn judge_webhooks(configuration: &Value, services: &[Value], slices: &[Value], seen: &mut Seen) {
    let (kind, name) = (text(&configuration["kind"]), text(&configuration["metadata"]["name"]));
    for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
        let service = &webhook["clientConfig"]["service"];
        let (namespace, of) = (text(&service["namespace"]), text(&service["name"]));
        if of.is_empty() {
            continue;
        }
        let policy = webhook["failurePolicy"].as_str().unwrap_or("Fail");
        let subject = format!("{kind} {name}, webhook {}", text(&webhook["name"]));
        let command = format!("get {} {name} -o yaml", kind.to_lowercase());
        let exists = services
            .iter()
            .any(|one| one["metadata"]["namespace"] == namespace && one["metadata"]["name"] == of);
        if !exists {
            let observed = format!("there is none; failurePolicy {policy}{}", what_fails(policy));
            seen.deviates(subject, format!("its Service {namespace}/{of}"), observed, command);
        } else if !slices.iter().any(|slice| serves(slice, namespace, of)) {
            let observed = format!("none is ready; failurePolicy {policy}{}", what_fails(policy));
            if policy == "Fail" {
                seen.deviates(
                    subject,
                    format!("a ready endpoint of its Service {namespace}/{of}"),
                    observed,
                    command,
                );
            } else {
                seen.note(format!("{subject}: of the endpoints of its Service {observed}"));
            }
        }
    }
}

fn what_fails(policy: &str) -> &'static str {
    if policy == "Fail" {
        ": what it is asked about is refused"
    } else {
        ": what it is asked about waits for its timeout, and is let through"
    }
}

fn serves(slice: &Value, namespace: &str, service: &str) -> bool {
    let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
    slice["metadata"]["namespace"] == namespace
        && slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
        && endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
}
