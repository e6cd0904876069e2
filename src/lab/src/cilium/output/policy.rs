//! `cilium-dbg policy get`.

use serde_json::{Value, json};

use super::super::view::PolicyView;

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
