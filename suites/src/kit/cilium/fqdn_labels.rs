//! The labels that an agent has for an address outside the clusters: those of the names by which policies select it
//! (`fqdn:NAME`). From `cilium-dbg bpf ipcache list` and `cilium-dbg identity list`, which together say what
//! `cilium-dbg ip list` shows.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What begins the label of a name or a pattern.
const PREFIX: &str = "fqdn:";

/// The names and patterns that select an address by its labels; none where the agent has no entry for the address, or
/// does not know the identity of it.
pub fn of(ipcache: &Value, identities: &Value, address: IpAddr) -> Option<BTreeSet<String>> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let entry = ipcache
        .get(format!("{address}/{length}"))?
        .as_array()?
        .first()?
        .as_str()?;
    let mut parts = entry.split_whitespace();
    let number: u64 = parts.find_map(|part| part.strip_prefix("identity="))?.parse().ok()?;
    let known = identities.as_array()?.iter().find(|known| known["id"] == number)?;
    let labels = known["labels"].as_array()?.iter().filter_map(Value::as_str);
    let named = labels.filter_map(|label| label.strip_prefix(PREFIX));
    Some(named.map(str::to_owned).collect())
}

/// The names and patterns that policies select by, as labels have them.
pub fn selectors(policies: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for policy in policies {
        let specs = policy["specs"].as_array().into_iter().flatten();
        for spec in specs.chain([&policy["spec"]]) {
            let rules = spec["egress"].as_array().into_iter().flatten();
            let names = rules.flat_map(|rule| rule["toFQDNs"].as_array().into_iter().flatten());
            found.extend(names.filter_map(selector));
        }
    }
    found
}

fn selector(name: &Value) -> Option<String> {
    let text = name["matchName"].as_str().or(name["matchPattern"].as_str())?;
    Some(text.trim_end_matches('.').to_ascii_lowercase())
}

/// What agents have for an address that a policy selects by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labelled {
    /// The label of one of the policy's names.
    ByPolicy,
    /// Only labels of names that other policies select, by address and node.
    ByOthers(BTreeMap<String, BTreeSet<String>>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_read_as_recorded() {
        let ipcache = json!({
            "0.0.0.0/0": ["identity=2 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"],
            "198.51.100.10/32": ["identity=16777231 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"],
            "198.51.100.20/32": ["identity=2 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"],
        });
        let identities = json!([
            {"id": 2, "labels": ["reserved:world"]},
            {"id": 16777231,
             "labels": ["fqdn:*.wild.outside.example", "fqdn:one.outside.example", "reserved:world"]},
        ]);
        let labels = |address: &str| of(&ipcache, &identities, address.parse().expect("an address"));
        let both = ["*.wild.outside.example", "one.outside.example"].map(str::to_owned);
        assert_eq!(labels("198.51.100.10"), Some(both.into()));
        assert_eq!(labels("198.51.100.20"), Some(BTreeSet::new()));
        assert_eq!(labels("198.51.100.30"), None);
    }

    #[test]
    fn selectors_are_those_of_every_rule() {
        let rule = |name: Value| json!({"toFQDNs": [name]});
        let policies = [
            json!({"spec": {"egress": [rule(json!({"matchName": "One.outside.example."})), {"toCIDR": []}]}}),
            json!({"specs": [{"egress": [rule(json!({"matchPattern": "o*.outside.example"}))]}, {"ingress": [{}]}]}),
        ];
        let expected = ["o*.outside.example", "one.outside.example"].map(str::to_owned);
        assert_eq!(selectors(&policies), expected.into());
    }
}
