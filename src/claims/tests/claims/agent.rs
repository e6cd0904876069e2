//! What agents show against their `cilium-config`, as recorded of Cilium 1.18.3: nothing differs, and most is shown.

use meshproof_claims::agent::{Question, table};
use serde_json::Value;
use std::{fs, path::PathBuf};

#[test]
fn recorded_agents_agree_with_their_configuration() {
    for profile in ["native", "plain", "wireguard"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/agent/{profile}.json"));
        let recorded: Value = serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("JSON");
        let mut compared = 0;
        let mut wrong = Vec::new();
        for shown in table() {
            let answer = match shown.question {
                Question::Configuration => &recorded["config"],
                Question::Status => &recorded["status"],
            };
            let Some(printed) = shown.read(answer) else { continue };
            let configured = recorded["cilium-config"][shown.key].as_str();
            match shown.agrees(configured, &printed) {
                Some(true) => compared += 1,
                Some(false) => wrong.push(format!("{} {configured:?}: {} {printed}", shown.key, shown.field)),
                None => {}
            }
        }
        assert!(wrong.is_empty(), "{profile}:\n{}", wrong.join("\n"));
        let least = if profile == "native" { 40 } else { 10 };
        assert!(compared >= least, "{profile}: only {compared} were compared");
    }
}
