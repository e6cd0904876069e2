//! The controls of the *baseline* standard, in the order of their ids.

use super::{PodView, Violation, distinct, named, quoted};
use serde_json::Value;

/// Which controls apply: *restricted* has stricter ones in place of some.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Baseline,
    BelowRestricted,
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const SYSCTLS: [&str; 11] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_rmem",
];

const SELINUX_TYPES: [&str; 5] = [
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

pub(super) fn check(pod: &PodView<'_>, found: &mut Vec<Violation>, scope: Scope) {
    let alone = scope == Scope::Baseline;
    let mut add = |control, detail: Option<String>| {
        found.extend(detail.map(|detail| Violation { control, detail }));
    };
    add("forbidden AppArmor profiles", app_armor(pod));
    if alone {
        add("non-default capabilities", capabilities(pod));
    }
    add("host namespaces", host_namespaces(pod));
    if alone {
        add("hostPath volumes", host_paths(pod));
    }
    add("hostPort", host_ports(pod));
    add(
        "privileged",
        containers(
            pod,
            |c| c["privileged"] == true,
            "must not set securityContext.privileged=true",
        ),
    );
    let unmasked = |c: &Value| c["procMount"].as_str().is_some_and(|mount| mount != "Default");
    add(
        "procMount",
        containers(pod, unmasked, "must not set securityContext.procMount to \"Unmasked\""),
    );
    add("seLinuxOptions", selinux(pod));
    if alone {
        add("seccompProfile", seccomp(pod));
    }
    add("forbidden sysctls", sysctls(pod));
    add("hostProcess", host_process(pod));
}

/// `container "a" <what>`, for the containers whose security context is wrong.
fn containers(pod: &PodView<'_>, wrong: impl Fn(&Value) -> bool, what: &str) -> Option<String> {
    let names = pod.names(|container| wrong(container.context()));
    (!names.is_empty()).then(|| format!("{} {what}", named("container", &names)))
}

fn app_armor(pod: &PodView<'_>) -> Option<String> {
    let unconfined = |context: &Value| context["appArmorProfile"]["type"] == "Unconfined";
    let mut details = Vec::new();
    if unconfined(pod.context()) {
        details.push("pod must not set AppArmor profile type to \"Unconfined\"".to_owned());
    }
    details.extend(containers(
        pod,
        unconfined,
        "must not set AppArmor profile type to \"Unconfined\"",
    ));
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    for (key, value) in annotations {
        let allowed =
            |profile: &str| profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/");
        if key.starts_with("container.apparmor.security.beta.kubernetes.io/") && !value.as_str().is_some_and(allowed) {
            details.push(format!("{key}={value}"));
        }
    }
    (!details.is_empty()).then(|| details.join("; "))
}

fn capabilities(pod: &PodView<'_>) -> Option<String> {
    let names = pod.names(|container| container.added().any(|added| !CAPABILITIES.contains(&added)));
    let mut added = distinct(
        pod.containers()
            .flat_map(|c| c.added())
            .filter(|a| !CAPABILITIES.contains(a)),
    );
    added.sort_unstable();
    let what = "in securityContext.capabilities.add";
    (!names.is_empty()).then(|| {
        format!(
            "{} must not include {} {what}",
            named("container", &names),
            quoted(&added)
        )
    })
}

fn host_namespaces(pod: &PodView<'_>) -> Option<String> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec[*field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| shared.join(", "))
}

fn host_paths(pod: &PodView<'_>) -> Option<String> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> = volumes
        .filter(|volume| volume["hostPath"].is_object())
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    (!names.is_empty()).then(|| named("volume", &names))
}

fn host_ports(pod: &PodView<'_>) -> Option<String> {
    let ports = |container: &Value| {
        let list = container["ports"].as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|port| port["hostPort"].as_i64())
            .filter(|port| *port != 0)
            .collect::<Vec<_>>()
    };
    let names = pod.names(|container| !ports(container.value).is_empty());
    let mut all: Vec<i64> = pod.containers().flat_map(|container| ports(container.value)).collect();
    all.sort_unstable();
    all.dedup();
    let listed = all.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if all.len() == 1 { "hostPort" } else { "hostPorts" };
    (!names.is_empty()).then(|| format!("{} {verb} {noun} {listed}", named("container", &names)))
}

fn selinux(pod: &PodView<'_>) -> Option<String> {
    let wrong = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let set = |field: &str| options[field].as_str().is_some_and(|text| !text.is_empty());
        let kind = options["type"].as_str().unwrap_or_default();
        !SELINUX_TYPES.contains(&kind) || set("user") || set("role")
    };
    let mut setters = Vec::new();
    if wrong(pod.context()) {
        setters.push("pod".to_owned());
    }
    let names = pod.names(|container| wrong(container.context()));
    if !names.is_empty() {
        setters.push(named("container", &names));
    }
    let verb = "set forbidden securityContext.seLinuxOptions: only the container types and no user or role";
    (!setters.is_empty()).then(|| format!("{} {verb}", setters.join(" and ")))
}

fn seccomp(pod: &PodView<'_>) -> Option<String> {
    let unconfined = |context: &Value| context["seccompProfile"]["type"] == "Unconfined";
    let what = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
    let mut setters = Vec::new();
    if unconfined(pod.context()) {
        setters.push("pod".to_owned());
    }
    let names = pod.names(|container| unconfined(container.context()));
    if !names.is_empty() {
        setters.push(named("container", &names));
    }
    (!setters.is_empty()).then(|| format!("{} {what}", setters.join(" and ")))
}

fn sysctls(pod: &PodView<'_>) -> Option<String> {
    let all = pod.context()["sysctls"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|s| s["name"].as_str());
    let forbidden: Vec<&str> = all.filter(|name| !SYSCTLS.contains(name)).collect();
    (!forbidden.is_empty()).then(|| forbidden.join(", "))
}

fn host_process(pod: &PodView<'_>) -> Option<String> {
    let set = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let what = "must not set securityContext.windowsOptions.hostProcess=true";
    if set(pod.context()) {
        return Some(format!("pod {what}"));
    }
    containers(pod, set, what)
}
