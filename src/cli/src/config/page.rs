//! docs/configuration.md, made of the schema, so that it describes what the reader accepts.

use super::schema;
use meshproof_contract::Thresholds;
use serde_json::Value;
use std::fmt::Write;

const HEAD: &str = "\
# meshproof.yaml

<!-- Generated from src/cli/src/config/: `MESHPROOF_UPDATE=1 cargo test -p meshproof --lib config` -->

meshproof reads `./meshproof.yaml` if it exists; `--config FILE` names another file. All keys are optional. An unknown
key is an error, with line, column and the key that was probably meant. The command line overrides the file, and the
file applies to `--lab` too. `meshproof init` writes a commented file from the clusters' current state;
`meshproof init --schema` prints the JSON Schema ([meshproof.schema.json](meshproof.schema.json)) for editors.

Claims are never adapted to the clusters: reports show them as written, with file and line, and checks verify them.
The namespaces are fixed: `meshproof` and `meshproof-peer` (restricted Pod Security) and `meshproof-node` (privileged,
for agents in the node's network or with a `hostPort`).
";

/// The page.
pub fn page() -> String {
    let schema = schema::schema();
    let mut out = HEAD.to_owned();
    section(&mut out, "Keys", &schema, "");
    for (title, name) in [
        ("`claims`, for each role name", "ClaimsEntry"),
        ("`thresholds`", "ThresholdOverrides"),
        ("`outside`, a list", "OutsideEntry"),
        ("`required`", "RequiredEntry"),
        ("`waivers`, a list", "WaiverEntry"),
        ("`nodePower`", "NodePowerEntry"),
    ] {
        let part = &schema["$defs"][name];
        section(&mut out, title, part, &description(part));
        if name == "ThresholdOverrides" {
            let _ = writeln!(out, "\n{}", defaults());
        }
    }
    out
}

/// The default of each threshold.
fn defaults() -> String {
    let rows = Thresholds::default().rows();
    let defaults: Vec<_> = rows.iter().map(|row| format!("`{}: {}`", row.key, row.value)).collect();
    format!(
        "Defaults: {}. The lab promises more: it has its own defaults for\nrecovery, fail-back, propagation and \
         policy enforcement.",
        defaults.join(",\n")
    )
}

fn section(out: &mut String, title: &str, schema: &Value, about: &str) {
    let _ = write!(out, "\n## {title}\n\n");
    if !about.is_empty() {
        let _ = write!(out, "{}\n\n", wrapped(about));
    }
    out.push_str("| key | value | meaning |\n|---|---|---|\n");
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let about = description(property).replace('|', "\\|");
        let _ = writeln!(out, "| `{key}` | {} | {about} |", kind(property));
    }
}

/// The description of a part of the schema in one line.
fn description(part: &Value) -> String {
    let text = part["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text in lines of at most 120 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if line.chars().count() + word.chars().count() >= 120 {
            lines.push(word.to_owned());
        } else {
            let gap = if line.is_empty() { "" } else { " " };
            let _ = write!(line, "{gap}{word}");
        }
    }
    lines.join("\n")
}

/// What may be written, in a few words.
fn kind(property: &Value) -> String {
    let named = |reference: &str| match reference.rsplit('/').next().unwrap_or_default() {
        "Encryption" => "`wireguard`, `ipsec`, `none`",
        "Mode" => "`default`, `always`, `never`, true, false",
        "YesNo" => "true, false",
        "PullPolicy" => "`Always`, `IfNotPresent`, `Never`",
        "Span" => "duration",
        "Percent" => "share",
        _ => "see below",
    };
    let any = property["anyOf"].as_array().into_iter().flatten();
    if let Some(reference) = std::iter::once(property)
        .chain(any)
        .find_map(|part| part["$ref"].as_str())
    {
        return named(reference).to_owned();
    }
    let types = match &property["type"] {
        Value::String(one) => one.clone(),
        Value::Array(any) => any.first().and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let kind = match types.as_str() {
        "array" if property["items"]["$ref"].is_string() => "list, see below",
        "array" => "list of strings",
        "object" if !property["additionalProperties"]["type"].is_string() => "map by role name, see below",
        "object" => "map of role name to string",
        "boolean" => "true, false",
        "integer" => "number",
        _ => "string",
    };
    kind.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn assert_committed(name: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        if std::env::var("MESHPROOF_UPDATE").as_deref() == Ok("1") {
            fs::write(&path, text).expect("written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{name} is out of date: run `MESHPROOF_UPDATE=1 cargo test -p meshproof --lib config`"
        );
    }

    #[test]
    fn the_committed_schema_and_page_are_current() {
        assert_committed("meshproof.schema.json", &schema::text());
        assert_committed("configuration.md", &page());
    }

    #[test]
    fn every_threshold_has_its_default_on_the_page() {
        for (_, value) in serde_json::to_value(Thresholds::default())
            .expect("JSON")
            .as_object()
            .expect("a map")
        {
            assert!(page().contains(value.as_str().expect("text")), "{value}");
        }
        let page = page();
        let bare = [": `,", ": `."].into_iter().find(|bare| page.contains(bare));
        assert_eq!(bare, None, "a key without its default:\n{page}");
    }
}
