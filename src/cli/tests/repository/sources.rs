//! Lines and files stay small enough to be read.

use crate::root;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest line, in characters: rustfmt's `max_width`, which it does not apply to strings.
const LINE: usize = 120;
/// Longest file, in lines.
const FILE: usize = 500;
/// Limits of the median and of the 90th percentile of all files, in lines.
const MEDIAN_AND_P90: (usize, usize) = (150, 300);

/// Every Rust source of the workspace with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["src", "suites", "fuzz"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 300, "only {} sources were found", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    // A folder that does not exist has no sources.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a readable source");
            found.push((path, text));
        }
    }
}

#[test]
fn no_line_is_longer_than_120_columns() {
    let long: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| {
            let lines = text.lines().enumerate();
            let long = lines.filter(|(_, line)| line.chars().count() > LINE);
            long.map(|(number, line)| format!("{}:{}: {} columns", path.display(), number + 1, line.chars().count()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(
        long.is_empty(),
        "{} lines are too long:\n{}",
        long.len(),
        long.join("\n")
    );
}

#[test]
fn files_are_short() {
    let mut sizes: Vec<(usize, PathBuf)> = sources()
        .into_iter()
        .map(|(path, text)| (text.lines().count(), path))
        .collect();
    sizes.sort();
    let at = |share: usize| sizes[sizes.len() * share / 100].0;
    assert!(at(50) <= MEDIAN_AND_P90.0, "the median file has {} lines", at(50));
    assert!(
        at(90) <= MEDIAN_AND_P90.1,
        "the 90th percentile of files has {} lines",
        at(90)
    );
    let long: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > FILE).collect();
    assert!(long.is_empty(), "longer than {FILE} lines: {long:?}");
}
