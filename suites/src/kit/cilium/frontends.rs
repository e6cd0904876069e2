//! What agents have behind the ports of one Service, from `cilium-dbg service list`.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// How many of these addresses are behind each port of the Service at `address`; none where the output is no list, or
/// the Service is not in it.
pub fn backends_by_port(output: &Value, address: IpAddr, counted: &BTreeSet<IpAddr>) -> Option<BTreeMap<u16, usize>> {
    let ip = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let mut found = BTreeMap::new();
    for service in output.as_array()? {
        // What is in force; before it is, what is wanted.
        let realized = &service["status"]["realized"];
        let spec = if realized.is_object() {
            realized
        } else {
            &service["spec"]
        };
        let frontend = &spec["frontend-address"];
        let port = frontend["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let Some(port) = port.filter(|_| ip(&frontend["ip"]) == Some(address)) else {
            continue;
        };
        let backends = spec["backend-addresses"].as_array().into_iter().flatten();
        let backends = backends.filter_map(|backend| ip(&backend["ip"]));
        let number = backends.filter(|backend| counted.contains(backend)).count();
        let most = found.entry(port).or_insert(0);
        *most = number.max(*most);
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn backends_are_counted_by_port_as_recorded() {
        let service = |ip: &str, port: u16, backends: &[&str]| {
            let backends: Vec<Value> = backends
                .iter()
                .map(|ip| json!({"ip": ip, "port": 8080, "protocol": "TCP", "state": "active"}))
                .collect();
            let spec = json!({
                "backend-addresses": backends,
                "frontend-address": {"ip": ip, "port": port, "protocol": "TCP", "scope": "external"},
            });
            json!({"spec": spec.clone(), "status": {"realized": spec}})
        };
        let output = json!([
            service("10.97.0.9", 80, &["10.246.1.5", "10.244.1.5", "10.244.2.5"]),
            service("10.97.0.9", 8088, &["10.246.1.5"]),
            service("10.97.0.10", 80, &["10.244.1.5"]),
        ]);
        let far: BTreeSet<IpAddr> = ["10.244.1.5", "10.244.2.5"]
            .map(|ip| ip.parse().expect("an address"))
            .into();
        let at = |ip: &str| backends_by_port(&output, ip.parse().expect("an address"), &far);
        assert_eq!(at("10.97.0.9"), Some([(80, 2), (8088, 0)].into()));
        assert_eq!(at("10.97.0.11"), None);
        assert_eq!(
            backends_by_port(&json!({}), "10.97.0.9".parse().expect("one"), &far),
            None
        );
    }
}
