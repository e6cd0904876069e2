//! `securityContext.sysctls` of a pod: which ones a kubelet admits, and what they are in the lab, where every process
//! has the one group that is mapped.

use serde_json::Value;

/// The namespace of the kernel that a sysctl belongs to, as the kubelet's messages call it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Ipc,
    Net,
}

/// What a kubelet admits unasked (`pkg/kubelet/sysctl/safe_sysctls.go`).
const SAFE: [(&str, Kernel); 12] = [
    ("kernel.shm_rmid_forced", Kernel::Ipc),
    ("net.ipv4.ip_local_port_range", Kernel::Net),
    ("net.ipv4.ip_local_reserved_ports", Kernel::Net),
    ("net.ipv4.ip_unprivileged_port_start", Kernel::Net),
    (PING, Kernel::Net),
    ("net.ipv4.tcp_fin_timeout", Kernel::Net),
    ("net.ipv4.tcp_keepalive_intvl", Kernel::Net),
    ("net.ipv4.tcp_keepalive_probes", Kernel::Net),
    ("net.ipv4.tcp_keepalive_time", Kernel::Net),
    ("net.ipv4.tcp_rmem", Kernel::Net),
    ("net.ipv4.tcp_syncookies", Kernel::Net),
    ("net.ipv4.tcp_wmem", Kernel::Net),
];
const PING: &str = "net.ipv4.ping_group_range";

/// The reason of a pod that is refused.
pub(super) const FORBIDDEN: &str = "SysctlForbidden";

fn asked(spec: &Value) -> impl Iterator<Item = (&str, &str)> {
    let all = spec["securityContext"]["sysctls"].as_array().into_iter().flatten();
    all.map(|sysctl| {
        let text = |field: &str| sysctl[field].as_str().unwrap_or_default();
        (text("name"), text("value"))
    })
}

/// Refuses a pod in the words of the kubelet (`pkg/kubelet/sysctl/allowlist.go`).
pub(super) fn admit(spec: &Value) -> Result<(), String> {
    for (name, _) in asked(spec) {
        let refused = match SAFE.iter().find(|(safe, _)| *safe == name) {
            None => "not allowlisted",
            Some((_, Kernel::Net)) if spec["hostNetwork"] == true => "not allowed with host Net enabled",
            Some((_, Kernel::Ipc)) if spec["hostIPC"] == true => "not allowed with host IPC enabled",
            Some(_) => continue,
        };
        return Err(format!("forbidden sysctl: {name:?} {refused}"));
    }
    Ok(())
}

/// The network sysctls of an admitted pod as [`PodNet::set_sysctl`](meshproof_datapath::PodNet::set_sysctl) takes them.
pub(super) fn settings(spec: &Value) -> Vec<(String, String)> {
    let network = asked(spec).filter_map(|(name, value)| Some((name, name.strip_prefix("net.")?, value)));
    network
        .map(|(name, path, value)| {
            let value = match name {
                PING if holds(value, spec["securityContext"]["runAsGroup"].as_u64().unwrap_or(0)) => "0 0",
                PING => "1 0",
                _ => value,
            };
            (path.replace('.', "/"), value.to_owned())
        })
        .collect()
}

/// Whether a range of groups holds one.
fn holds(range: &str, group: u64) -> bool {
    let mut ends = range.split_ascii_whitespace().map(str::parse::<u64>);
    matches!((ends.next(), ends.next()), (Some(Ok(low)), Some(Ok(high))) if (low..=high).contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, value: &str) -> Value {
        json!({"securityContext": {"runAsGroup": 65532, "sysctls": [{"name": name, "value": value}]}})
    }

    #[test]
    fn only_safe_ones_are_admitted_and_none_of_the_network_on_the_nodes_own() {
        assert_eq!(admit(&json!({})), Ok(()));
        let mut ping = pod(PING, "65532 65532");
        assert_eq!(admit(&ping), Ok(()));
        ping["hostNetwork"] = json!(true);
        assert_eq!(
            admit(&ping).expect_err("the node's own"),
            "forbidden sysctl: \"net.ipv4.ping_group_range\" not allowed with host Net enabled"
        );
        assert_eq!(
            admit(&pod("net.ipv4.ip_forward", "1")).expect_err("not safe"),
            "forbidden sysctl: \"net.ipv4.ip_forward\" not allowlisted"
        );
    }

    #[test]
    fn the_range_of_ping_is_opened_for_the_labs_group_if_it_holds_the_pods() {
        let set = |name: &str, value: &str| settings(&pod(name, value));
        let ping = |value: &str| vec![("ipv4/ping_group_range".to_owned(), value.to_owned())];
        assert_eq!(set(PING, "65532 65532"), ping("0 0"));
        assert_eq!(set(PING, "0 2147483647"), ping("0 0"));
        for closed in ["1 0", "0 0", "nonsense"] {
            assert_eq!(set(PING, closed), ping("1 0"), "{closed}");
        }
        let port = set("net.ipv4.ip_unprivileged_port_start", "80");
        assert_eq!(port, [("ipv4/ip_unprivileged_port_start".to_owned(), "80".to_owned())]);
        assert!(set("kernel.shm_rmid_forced", "1").is_empty());
        assert!(settings(&json!({})).is_empty());
    }
}
