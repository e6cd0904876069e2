//! The table of `cilium-config` against what the real chart 1.18.3 rendered: the operators' example, and one value
//! changed at a time.

use meshproof_claims::{
    chart::Chart,
    place::FileId,
    prediction::{Predicted, Prediction},
    values::{Values, merge},
    yaml::{Node, read},
};
use std::{collections::BTreeMap, fs, path::PathBuf};

fn testdata(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Node {
    read(text, FileId(0), 1, &mut Vec::new()).expect("YAML").expect("a map")
}

fn rendered(path: &str) -> BTreeMap<String, String> {
    let node = parse(&testdata(path));
    let data = node.get("data").unwrap_or(&node);
    let entries = data.entries().iter();
    entries
        .map(|entry| (entry.key.clone(), entry.node.scalar().unwrap_or_default()))
        .collect()
}

#[test]
fn the_prediction_is_what_the_chart_renders_key_by_key() {
    let (chart, prediction) = (Chart::new(), Prediction::new());
    for house in ["as-written", "clean"] {
        for cluster in ["infra", "apps"] {
            let values = format!("gitops-example/{house}/bootstrap/clusters/{cluster}/cilium-values.yaml");
            let given = parse(&testdata(&values));
            let values = Values {
                chart: &chart,
                given: &given,
            };
            let rendered = rendered(&format!("gitops-example/rendered/{house}-{cluster}-cilium-config.yaml"));
            let mut wrong = Vec::new();
            for key in prediction.keys() {
                let expected = rendered
                    .get(key)
                    .map_or(Predicted::Absent, |text| Predicted::Is(text.clone()));
                let predicted = prediction.predict(key, &values);
                if predicted != expected {
                    wrong.push(format!("{key}: {predicted:?}, rendered {expected:?}"));
                }
            }
            let known: Vec<_> = prediction.keys().collect();
            let missing = rendered.keys().filter(|key| !known.contains(&key.as_str()));
            wrong.extend(missing.map(|key| format!("{key}: not in the table")));
            assert!(wrong.is_empty(), "{house} {cluster}:\n{}", wrong.join("\n"));
        }
    }
}

#[test]
fn one_value_changed_changes_the_keys_that_the_chart_changes() {
    let (chart, prediction) = (Chart::new(), Prediction::new());
    let base = parse(&testdata("base-values.yaml"));
    let predict = |given: &Node| -> BTreeMap<&str, Predicted> {
        let values = Values { chart: &chart, given };
        prediction
            .keys()
            .map(|key| (key, prediction.predict(key, &values)))
            .collect()
    };
    let before = predict(&base);
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in testdata("effects-1.18.3.tsv").lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        // Values of another type than the default were given as the number 7.
        let (path, to, changes) = (cells[0], cells[3], cells.get(4).copied().unwrap_or_default());
        let is_refused = changes.starts_with("REFUSED");
        if is_refused || path == "preflight.enabled" || path.contains("kubernetes.io") || path == "eni.enabled" {
            continue;
        }
        let to = if changes.contains("-> '7'") { "7" } else { to };
        let is_text =
            chart.default_of(path).is_some_and(|default| default.text().is_some()) && to.parse::<i64>().is_err();
        let to = if is_text && path != "kubeProxyReplacement" {
            format!("{to:?}")
        } else {
            to.to_owned()
        };
        let mut given = base.clone();
        let nested = path
            .split('.')
            .rev()
            .fold(to, |inner, key| format!("{{{key}: {inner}}}"));
        merge(&mut given, parse(&nested));
        let expected: BTreeMap<&str, Predicted> = changes
            .split("; ")
            .filter_map(|change| {
                let (key, change) = change.split_once(": ")?;
                let (_, to) = change.split_once(" -> ")?;
                let is = to.strip_prefix('\'').and_then(|to| to.strip_suffix('\''));
                Some((key, is.map_or(Predicted::Absent, |text| Predicted::Is(text.to_owned()))))
            })
            .collect();
        rows += 1;
        for (key, after) in predict(&given) {
            let expected = expected.get(key).unwrap_or(&before[key]);
            if &after != expected && after != Predicted::Unknown {
                wrong.push(format!("{path}: {key} is {after:?}, rendered {expected:?}"));
            }
        }
    }
    assert!(rows > 300, "{rows}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
