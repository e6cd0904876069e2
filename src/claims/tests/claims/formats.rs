//! The forms for machines, as their readers expect them.

use crate::repository::Repository;
use meshproof_claims::{Report, render};
use serde_json::Value;

fn report() -> Report {
    let values = "cluster: {name: infra}\nkubeProxyReplacment: true\nl7Proxy: \"no\"\nmaglev: {hashSeed: x}\n";
    Repository::with(&[("clusters/infra/cilium-values.yaml", values)]).check()
}

#[test]
fn github_gets_an_annotation_for_each_finding() {
    let text = render::github(&report());
    let lines: Vec<&str> = text.lines().collect();
    let file = "clusters/infra/cilium-values.yaml";
    assert!(
        lines[0].starts_with(&format!(
            "::warning file={file},line=2,col=1,title=meshproof unknown-key::"
        )),
        "{text}"
    );
    assert!(
        lines[1].starts_with(&format!(
            "::error file={file},line=3,col=1,title=meshproof wrong-type::"
        )),
        "{text}"
    );
    assert!(lines.last().expect("a line").starts_with("::notice "), "{text}");
}

#[test]
fn sarif_has_its_version_every_rule_and_places_from_one() {
    let sarif: Value = serde_json::from_str(&render::sarif(&report())).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let (rules, results) = (
        &sarif["runs"][0]["tool"]["driver"]["rules"],
        &sarif["runs"][0]["results"],
    );
    for result in results.as_array().expect("results") {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "clusters/infra/cilium-values.yaml");
        assert!(place["region"]["startLine"].as_u64() >= Some(1) && place["region"]["startColumn"].as_u64() >= Some(1));
    }
    assert_eq!(results.as_array().map(Vec::len), Some(3));
}

#[test]
fn json_has_findings_claims_and_the_mapping() {
    let json: Value = serde_json::from_str(&render::json(&report())).expect("JSON");
    assert_eq!((&json["errors"], &json["warnings"]), (&Value::from(1), &Value::from(2)));
    assert_eq!(json["clusters"][0]["cluster"], "infra");
    let claims = json["claims"].as_array().expect("claims");
    let name = claims
        .iter()
        .find(|claim| claim["value"] == "cluster.name")
        .expect("claimed");
    assert_eq!(
        (&name["claimed"], &name["place"]["line"]),
        (&Value::from("infra"), &Value::from(1))
    );
    assert!(!name["checks"].as_array().expect("checks").is_empty());
}
