//! The layers of the command itself: commands call sessions, sessions read configuration and arguments, never upwards.

use crate::root;
use std::{fs, path::Path};

/// Each module with those of the command that it may not name.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("args", &["command", "config", "session", "suite_tests"]),
    ("config", &["command", "session", "suite_tests"]),
    ("session", &["command", "suite_tests"]),
    ("command", &["suite_tests"]),
];

#[test]
fn the_commands_modules_do_not_call_upwards() {
    let source = root().join("src/cli/src");
    for (module, forbidden) in FORBIDDEN {
        let mut text = fs::read_to_string(source.join(format!("{module}.rs"))).expect("a module");
        append(&source.join(module), &mut text);
        // `use crate::{a, b::{c, d}}` names its modules at the first level of the braces.
        let names = |upper: &str| {
            let at_start = |line: &str| line.trim_start().starts_with(&format!("{upper}::"));
            text.contains(&format!("crate::{upper}")) || text.lines().any(at_start)
        };
        for upper in *forbidden {
            assert!(!names(upper), "{module} must not name {upper}");
        }
    }
}

fn append(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            append(&path, text);
        } else {
            text.push_str(&fs::read_to_string(&path).expect("a readable source"));
        }
    }
}
