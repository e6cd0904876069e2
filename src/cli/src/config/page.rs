//! docs/configuration.md, made of the schema, so that it tells what the reader accepts.

use super::schema;
use meshproof_contract::Thresholds;
use serde_json::Value;
use std::fmt::Write;

const HEAD: &str = "\
# meshproof.yaml

<!-- Generated from src/cli/src/config/file.rs: `MESHPROOF_UPDATE_DOCS=1 cargo test -p meshproof --lib config` -->

`./meshproof.yaml` is read if it is there; `--config FILE` names another. Every key is optional, an unknown one is an error (with line and
column, and the key that was probably meant), and the command line wins. `meshproof init` writes a commented file from what the clusters show,
and `meshproof init --schema` prints the JSON Schema ([meshproof.schema.json](meshproof.schema.json)) for editors. The file applies to `--lab` too.

Claims are never adapted to what is there: a claim is shown in the reports as it is written, with file and line, and judged by the checks. The
namespaces are fixed: `meshproof` and `meshproof-peer` (restricted Pod Security) and `meshproof-node` (privileged, for agents in the node's network).
";

/// The page.
pub fn page() -> String {
    let schema = schema::schema();
    let defaults = serde_json::to_value(Thresholds::default()).unwrap_or_default();
    let mut out = HEAD.to_owned();
    section(&mut out, "Keys", &schema, "");
    for (title, name) in [
        ("`claims`: for each role name", "ClaimsEntry"),
        ("`thresholds`", "ThresholdsEntry"),
        ("`outside`: a list of", "OutsideEntry"),
        ("`required`", "RequiredEntry"),
        ("`nodePower`", "NodePowerEntry"),
    ] {
        let part = &schema["$defs"][name];
        section(&mut out, title, part, text(part, "description"));
        if name == "ThresholdsEntry" {
            out.push_str("\nDefaults: ");
            let fields = part["properties"].as_object().into_iter().flatten();
            let told = fields.map(|(key, _)| format!("`{key}: {}`", defaults[snake(key)].as_str().unwrap_or_default()));
            out.push_str(&told.collect::<Vec<_>>().join(", "));
            out.push_str(".\n");
        }
    }
    out
}

fn section(out: &mut String, title: &str, schema: &Value, about: &str) {
    let _ = write!(out, "\n## {title}\n\n");
    if !about.is_empty() {
        let _ = write!(out, "{}\n\n", one_line(about));
    }
    out.push_str("| key | value | meaning |\n|---|---|---|\n");
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let about = one_line(text(property, "description"));
        let _ = writeln!(out, "| `{key}` | {} | {about} |", kind(property));
    }
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
    if let Some(reference) = property["$ref"].as_str() {
        return named(reference).to_owned();
    }
    if let Some(reference) = property["anyOf"]
        .as_array()
        .and_then(|any| any.iter().find_map(|a| a["$ref"].as_str()))
    {
        return named(reference).to_owned();
    }
    let types = match &property["type"] {
        Value::String(one) => one.clone(),
        Value::Array(any) => any.first().and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    match types.as_str() {
        "array" => "list of texts".to_owned(),
        "object" if !property["additionalProperties"]["type"].is_string() => "role name: see below".to_owned(),
        "object" => "role name: text".to_owned(),
        "boolean" => "true, false".to_owned(),
        "integer" => "number".to_owned(),
        _ => "text".to_owned(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn snake(key: &str) -> String {
    key.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn assert_committed(name: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        if std::env::var_os("MESHPROOF_UPDATE_DOCS").is_some() {
            std::fs::write(&path, text).expect("written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{name} is out of date: run `MESHPROOF_UPDATE_DOCS=1 cargo test -p meshproof --lib config`"
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
