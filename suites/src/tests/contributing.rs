//! CONTRIBUTING.md quotes its example from the source, so that it compiles and stays true.

use super::{assert_current, repository};

const START: &str = "<!-- quoted: ";

/// The file up to its tests.
fn quotation(path: &str) -> String {
    let source = std::fs::read_to_string(repository().join(path)).expect("the quoted source");
    let code = source.split("\n#[cfg(test)]").next().unwrap_or_default();
    format!("```rust\n{}\n```\n", code.trim_end())
}

#[test]
fn the_example_is_quoted_from_the_source() {
    let page = std::fs::read_to_string(repository().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let (before, rest) = page.split_once(START).expect("a quotation in CONTRIBUTING.md");
    let (path, rest) = rest.split_once(" -->\n").expect("the path of the quoted source");
    let (_, after) = rest.split_once("\n```\n").expect("the end of the quotation");
    assert!(!after.contains(START), "one quotation is enough");
    let quotation = quotation(path);
    assert_current(
        "CONTRIBUTING.md",
        &format!("{before}{START}{path} -->\n{quotation}{after}"),
    );
}
