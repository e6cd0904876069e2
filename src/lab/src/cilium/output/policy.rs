//! `cilium-dbg policy get`.

use super::{
    super::{time::millis, view::PolicyView},
    table::{row, table},
};
use serde_json::{Value, json};

/// `cilium-dbg fqdn cache list` as JSON: a lookup each.
pub fn names(policy: &PolicyView) -> Value {
    let lookups = policy.names.iter().map(|known| {
        json!({
            "endpoint-id": known.endpoint,
            "expiration-time": millis(known.looked_up + known.ttl),
            "fqdn": format!("{}.", known.name),
            "ips": [known.address.to_string()],
            "lookup-time": millis(known.looked_up),
            "source": "lookup",
            "ttl": known.ttl.as_secs(),
        })
    });
    lookups.collect()
}

/// `cilium-dbg fqdn cache list` as text.
pub fn names_text(policy: &PolicyView) -> String {
    let mut rows = vec![row!["Endpoint", "Source", "FQDN", "TTL", "ExpirationTime", "IPs"]];
    for known in &policy.names {
        let (name, until) = (format!("{}.", known.name), millis(known.looked_up + known.ttl));
        rows.push(row![
            known.endpoint,
            "lookup",
            name,
            known.ttl.as_secs(),
            until,
            known.address
        ]);
    }
    table(&rows)
}

/// As JSON: the rules are a string that holds JSON.
pub fn get(policy: &PolicyView) -> Value {
    json!({"policy": rules(policy), "revision": policy.revision})
}

/// As text.
pub fn text(policy: &PolicyView) -> String {
    format!("{}\nRevision: {}\n", rules(policy), policy.revision)
}

fn rules(policy: &PolicyView) -> String {
    serde_json::to_string_pretty(&policy.rules).expect("JSON values can always be written")
}
