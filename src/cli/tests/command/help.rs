//! `--help` of every command, kept as snapshots so that a change of wording is seen in review, and its examples, which
//! must work.

use crate::meshproof::{folder, meshproof};
use std::{fs, path::Path};

const COMMANDS: &[&[&str]] = &[
    &[],
    &["run"],
    &["lab"],
    &["lab", "up"],
    &["lab", "status"],
    &["lab", "down"],
    &["lab", "inject"],
    &["lab", "heal"],
    &["watch"],
    &["prove"],
    &["claims"],
    &["claims", "check"],
    &["explain"],
    &["init"],
    &["doctor"],
    &["clean"],
    &["report"],
    &["gate"],
    &["rbac"],
    &["image"],
    &["bench"],
    &["man"],
    &["completions"],
];

fn help(command: &[&str]) -> String {
    let words: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
    meshproof(folder().path(), &words).ends(0, &["Usage: meshproof"]).out
}

/// The snapshot of this name; `MESHPROOF_UPDATE=1` replaces it.
fn assert_snapshot(name: &str, text: &str) {
    if std::env::var("MESHPROOF_UPDATE").as_deref() == Ok("1") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/snapshots");
        fs::create_dir_all(&folder).expect("a folder for snapshots");
        let snapshot = format!("---\nsource: src/cli/tests/command/help.rs\nexpression: text\n---\n{text}");
        fs::write(folder.join(format!("command__help__{name}.snap")), snapshot).expect("written");
    }
    insta::assert_snapshot!(name, text);
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    for command in COMMANDS {
        let words: Vec<&str> = ["meshproof"].into_iter().chain(command.iter().copied()).collect();
        assert_snapshot(&words.join("_"), &help(command));
    }
}

#[test]
fn every_command_has_a_snapshot() {
    let listed = |help: String| -> Vec<String> {
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let commands = commands.take_while(|line| !line.is_empty());
        let names = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        names
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    };
    let (all, of_lab) = (listed(help(&[])), listed(help(&["lab"])));
    assert!(all.len() > 8 && of_lab.len() == 5, "{all:?} {of_lab:?}");
    for name in &all {
        assert!(COMMANDS.contains(&[name.as_str()].as_slice()), "{name}");
    }
    for name in &of_lab {
        assert!(COMMANDS.contains(&["lab", name.as_str()].as_slice()), "lab {name}");
    }
}

#[test]
fn the_examples_of_run_select_something() {
    let examples = examples(&help(&["run"]));
    assert!(examples.len() > 5, "{examples:?}");
    for example in examples {
        let words = shlex::split(&example).expect("a command line");
        let mut words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        if !words.contains(&"--list") {
            words.push("--list");
        }
        let listed = meshproof(folder().path(), &words).ends(0, &[]);
        assert!(!listed.out.is_empty(), "{example} lists nothing");
    }
}

/// The command lines below `Examples:`, without the explanation at the end of each.
fn examples(help: &str) -> Vec<String> {
    let (_, examples) = help.split_once("Examples:\n").expect("examples");
    let joined = examples.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| line.trim().rsplit_once("  "));
    let commands = lines.map(|(command, _)| command.split_whitespace().collect::<Vec<_>>().join(" "));
    commands.filter(|command| command.starts_with("meshproof ")).collect()
}
