//! The controls that the *restricted* standard adds to *baseline*, in the order of their ids.

use super::{PodView, Violation, distinct, named, quoted};
use serde_json::Value;

const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn check(pod: &PodView<'_>, found: &mut Vec<Violation>) {
    let mut add = |control, detail: Option<String>| {
        found.extend(detail.map(|detail| Violation { control, detail }));
    };
    let escalating = pod.names(|container| container.context()["allowPrivilegeEscalation"] != false);
    let what = "must set securityContext.allowPrivilegeEscalation=false";
    add("allowPrivilegeEscalation != false", listed(&escalating, what));
    add("unrestricted capabilities", capabilities(pod));
    add("restricted volume types", volumes(pod));
    add("runAsNonRoot != true", run_as_non_root(pod));
    add("runAsUser=0", run_as_user(pod));
    add("seccompProfile", seccomp(pod));
}

fn listed(names: &[&str], what: &str) -> Option<String> {
    (!names.is_empty()).then(|| format!("{} {what}", named("container", names)))
}

fn capabilities(pod: &PodView<'_>) -> Option<String> {
    let drops_all = |context: &Value| {
        context["capabilities"]["drop"]
            .as_array()
            .is_some_and(|list| list.iter().any(|entry| entry == "ALL"))
    };
    let keeping = pod.names(|container| !drops_all(container.context()));
    let adding = pod.names(|container| container.added().any(|added| added != "NET_BIND_SERVICE"));
    let mut added = distinct(
        pod.containers()
            .flat_map(|c| c.added())
            .filter(|a| *a != "NET_BIND_SERVICE"),
    );
    added.sort_unstable();
    let include = format!(
        "must not include {} in securityContext.capabilities.add",
        quoted(&added)
    );
    let details = [
        listed(&keeping, "must set securityContext.capabilities.drop=[\"ALL\"]"),
        listed(&adding, &include),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    (!details.is_empty()).then(|| details.join("; "))
}

fn volumes(pod: &PodView<'_>) -> Option<String> {
    let kind = |volume: &Value| {
        let fields = volume.as_object()?;
        fields
            .keys()
            .find(|key| *key != "name" && !VOLUMES.contains(&key.as_str()))
            .cloned()
    };
    let wrong: Vec<(&str, String)> = pod.spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| Some((volume["name"].as_str()?, kind(volume)?)))
        .collect();
    let names: Vec<&str> = wrong.iter().map(|(name, _)| *name).collect();
    let mut kinds = distinct(wrong.iter().map(|(_, kind)| kind.as_str()));
    kinds.sort_unstable();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if kinds.len() == 1 { "type" } else { "types" };
    (!names.is_empty()).then(|| {
        format!(
            "{} {verb} restricted volume {noun} {}",
            named("volume", &names),
            quoted(&kinds)
        )
    })
}

fn run_as_non_root(pod: &PodView<'_>) -> Option<String> {
    let of_pod = &pod.context()["runAsNonRoot"];
    let refusing = pod.names(|container| container.context()["runAsNonRoot"] == false);
    let mut details = Vec::new();
    if *of_pod == false {
        details.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
    }
    details.extend(listed(&refusing, "must not set securityContext.runAsNonRoot=false"));
    if *of_pod != true && *of_pod != false {
        let silent = pod.names(|container| !container.context()["runAsNonRoot"].is_boolean());
        if details.is_empty() {
            details.extend(
                listed(&silent, "must set securityContext.runAsNonRoot=true").map(|text| format!("pod or {text}")),
            );
        }
    }
    (!details.is_empty()).then(|| details.join("; "))
}

fn run_as_user(pod: &PodView<'_>) -> Option<String> {
    let root = |context: &Value| context["runAsUser"] == 0;
    let mut setters = Vec::new();
    if root(pod.context()) {
        setters.push("pod".to_owned());
    }
    let names = pod.names(|container| root(container.context()));
    if !names.is_empty() {
        setters.push(named("container", &names));
    }
    (!setters.is_empty()).then(|| format!("{} must not set runAsUser=0", setters.join(" and ")))
}

fn seccomp(pod: &PodView<'_>) -> Option<String> {
    let good = |context: &Value| {
        matches!(
            context["seccompProfile"]["type"].as_str(),
            Some("RuntimeDefault" | "Localhost")
        )
    };
    let bad = |context: &Value| context["seccompProfile"]["type"].is_string() && !good(context);
    let what = "securityContext.seccompProfile.type to";
    let unconfined = pod.names(|container| bad(container.context()));
    let mut details = Vec::new();
    if bad(pod.context()) {
        details.push(format!(
            "pod must not set {what} {}",
            pod.context()["seccompProfile"]["type"]
        ));
    }
    details.extend(listed(&unconfined, &format!("must not set {what} \"Unconfined\"")));
    if details.is_empty() && !good(pod.context()) {
        let silent = pod.names(|container| !good(container.context()));
        let must = format!("must set {what} \"RuntimeDefault\" or \"Localhost\"");
        details.extend(listed(&silent, &must).map(|text| format!("pod or {text}")));
    }
    (!details.is_empty()).then(|| details.join("; "))
}
