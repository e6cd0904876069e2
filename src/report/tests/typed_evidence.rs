//! No renderer looks into a sentence: the report and progress crates take texts as they are. What they need to know of
//! a run is typed in the contract, so that a change of wording cannot change a figure.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What takes a text apart or asks what is in it.
const PARSING: [&str; 17] = [
    "split_once(",
    "split(",
    "splitn(",
    "split_whitespace(",
    "split_terminator(",
    "strip_prefix(",
    "strip_suffix(",
    "trim_start_matches(",
    "trim_end_matches(",
    "starts_with(",
    "ends_with(",
    "contains(",
    ".find(\"",
    "parse::<",
    ".parse()",
    "matches(",
    "Regex",
];

/// Lines that may: a file, a part of the line, and why.
const ALLOWED: [(&str, &str, &str); 15] = [
    (
        "report/src/attachment.rs",
        "\"-_.\".contains(c)",
        "characters of a file name",
    ),
    (
        "report/src/attachment.rs",
        "trim_matches",
        "a file name made of a trial's name",
    ),
    (
        "report/src/figure/axis.rs",
        "strip_prefix",
        "a node's name without its cluster's, as a short label",
    ),
    ("report/src/figure/axis.rs", "trim_start_matches", "the same"),
    ("report/src/figure/axis.rs", "(1..=3).contains", "a range of numbers"),
    (
        "report/src/figure/distribution.rs",
        "(low..=high).contains",
        "a range of numbers",
    ),
    (
        "report/src/gate/series.rs",
        "SAME_OUTAGE.contains",
        "names of measurements, which are typed in a log",
    ),
    (
        "report/src/gate/text.rs",
        "split_whitespace",
        "a command or a link on one line",
    ),
    (
        "report/src/html/view/filters.rs",
        "split('`')",
        "backticks become code, whatever is between them",
    ),
    (
        "report/src/junit.rs",
        "\"\\n\\t\".contains",
        "characters that XML may hold",
    ),
    ("report/src/junit.rs", "split_whitespace", "a message on one line"),
    (
        "report/src/log.rs",
        "ends_with(b\"\\n\")",
        "a torn last line of the log",
    ),
    ("report/src/log.rs", "split(|byte|", "lines of the log"),
    (
        "report/src/metrics.rs",
        "strip_suffix",
        "a metric's name with its unit once",
    ),
    ("report/src/svg.rs", "strip_suffix", "numbers without a trailing zero"),
];

#[test]
fn no_text_is_parsed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut used = [false; ALLOWED.len()];
    let mut found = Vec::new();
    for file in ["report/src", "progress/src"]
        .iter()
        .flat_map(|folder| sources(&root.join(folder)))
    {
        let name = file
            .strip_prefix(&root)
            .expect("below it")
            .to_string_lossy()
            .replace('\\', "/");
        let text = fs::read_to_string(&file).expect("a source");
        // Tests may look at texts; they come last in a file.
        let tests = ["#[cfg(test)]\nmod ", "#[cfg(all(test, unix))]\nmod "];
        let end = tests
            .iter()
            .filter_map(|tests| text.find(tests))
            .min()
            .unwrap_or(text.len());
        let product = &text[..end];
        for (number, line) in product.lines().enumerate() {
            let code = line.trim_start();
            let code = code.replace("matches!(", "");
            if code.starts_with("//") || !PARSING.iter().any(|parsing| code.contains(parsing)) {
                continue;
            }
            match ALLOWED
                .iter()
                .position(|(file, part, _)| *file == name && code.contains(part))
            {
                Some(at) => used[at] = true,
                None => found.push(format!("{name}:{}: {code}", number + 1)),
            }
        }
    }
    assert!(
        found.is_empty(),
        "a text is parsed where a typed field of the contract should be read:\n{}",
        found.join("\n")
    );
    let idle: Vec<_> = ALLOWED
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|(allowed, _)| allowed)
        .collect();
    assert!(idle.is_empty(), "allowed and not used: {idle:?}");
}

/// Sources below a folder, without those of tests alone.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if name.ends_with(".rs") && !["tests.rs", "fixture.rs", "snapshot.rs", "wording.rs"].contains(&&*name) {
            sources.push(path);
        }
    }
    sources.sort();
    sources
}
