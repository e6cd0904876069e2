//! docs/claims.md: the rules and the claim table as a page.

use crate::{
    chart::{CHART_VERSION, Chart},
    prediction::Prediction,
    rules::{Described, described},
    table::{Row, Table},
};
use std::fmt::Write;

const HEAD: &str = "\
# Claims

<!-- Generated from src/claims: `MESHPROOF_UPDATE=1 cargo test -p meshproof-claims --test claims` -->

`meshproof claims check --gitops DIR` reads the repository that the clusters are installed from and finds what cannot be
meant: in Helm values, releases, network policies, Services and Cilium's objects. It contacts no cluster and renders no
template; what only rendering or decrypting would tell is said, and nothing is concluded from it.

| exit code | meaning |
|---|---|
| 0 | nothing was found, or warnings only |
| 1 | an error was found |
| 2 | usage, or the files cannot be read |

`--format text` is for people; `json` has everything; `sarif` (2.1.0) is for code scanning; `github` makes annotations
in the lines of a pull request.

## Which file belongs to which cluster
The result names the files of each cluster first. In this order:

1. `--values ROLE=FILE`, or `values` under `claims` in meshproof.yaml. Later files win; maps are merged, lists replaced,
   and `null` removes, as Helm does.
2. The helmfile release of Cilium's chart: its `values`, with `{{ .Environment.Name }}` matched against the files that
   exist.
3. A HelmRelease of Flux (`valuesFrom` a ConfigMap that the repository generates or holds, then `values`), or an
   Application of Argo CD. They are in force in the end, and are compared with the bootstrap's.
4. A file named after Cilium and values, in a folder below `clusters/`, or with `cluster.name` in it.

Objects belong to a cluster if their path says so (below `clusters/ROLE`, a name that begins or ends with the role, or a
folder of that name beside one of another role), or if a Kustomization of such a path reaches them. Others can be for
any.

Nothing secret is printed: of values, only those of the table below are shown.
";

/// The page.
pub fn page() -> String {
    let (chart, prediction) = (Chart::new(), Prediction::new());
    let table = Table::new(&chart, &prediction);
    let mut out = HEAD.to_owned();
    out.push_str(
        "\n## Rules\nLetters and numbers in brackets are those of the facts about Cilium 1.18.3 behind each rule.\n\n",
    );
    out.push_str("| rule | severity | finds | why |\n|---|---|---|---|\n");
    let rules = described();
    for rule in &rules {
        let (finds, reason) = (cell(&rule.finds), cell(&rule.reason));
        let _ = writeln!(out, "| `{}` | {} | {finds} | {reason} |", rule.id, rule.severity);
    }
    out.push_str(
        "\n## Examples of rules about one cluster's values\n\n| rule | found in | not found in |\n|---|---|---|\n",
    );
    for Described { id, examples, .. } in &rules {
        if let Some((breaks, holds)) = examples {
            let _ = writeln!(out, "| `{id}` | `{}` | `{}` |", cell(breaks), cell(holds));
        }
    }
    let _ = write!(
        out,
        "\n## The claim table\nHelm values of chart {CHART_VERSION}. A value that is not here and that the chart knows \
         is claimed, not verified.\n\n| value | default | claims | needs | keys of cilium-config | agent | objects | \
         verified by |\n|---|---|---|---|---|---|---|---|\n"
    );
    for row in table.rows() {
        out.push_str(&line(row));
    }
    out
}

fn line(row: &Row) -> String {
    let code = |words: Vec<&str>| {
        words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let needs: Vec<_> = row.needs.iter().map(ToString::to_string).collect();
    let cells = [
        format!("`{}`", row.value),
        format!("`{}`", cell(&row.default)),
        cell(&row.about),
        cell(&needs.join("; ")),
        code(row.config_keys.clone()),
        row.agent.as_deref().map(cell).unwrap_or_default(),
        cell(&row.objects.join("; ")),
        code(row.checks.iter().map(String::as_str).collect()),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
