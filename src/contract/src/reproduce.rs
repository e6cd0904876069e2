//! The command that runs one trial again: what the user typed, less what selects, plus the trial's name.
//!
//! Works on the words of the command line only, so that a report rebuilt from a log says the same as the terminal did.

use crate::TrialName;

/// Options of `meshproof run` that select, tune or print, and need not be repeated; with their number of values.
const DROPPED: [(&str, usize); 9] = [
    ("--suite", 1),
    ("--skip", 1),
    ("--exact", 0),
    ("--list", 0),
    ("--jobs", 1),
    ("--fail-fast", 0),
    ("--report-dir", 1),
    ("--format", 1),
    ("--verbose", 0),
];

/// Options that say where and under what conditions, with a value.
const KEPT_WITH_VALUE: [&str; 8] = [
    "--infra-context",
    "--apps-context",
    "--context",
    "--config",
    "--lab-fault",
    "--image",
    "--pull-policy",
    "--timeout",
];

/// The command line that runs `trial` alone in the same place as `command` did, quoted for a POSIX shell.
pub fn reproduce(command: &[String], trial: &TrialName) -> String {
    let mut words = vec![
        command.first().map_or("meshproof", String::as_str).to_owned(),
        "run".to_owned(),
    ];
    if command.get(1).is_some_and(|word| word == "run") {
        words.extend(place(&command[2..]));
    } else {
        words.push("--lab".to_owned());
    }
    words.push("--exact".to_owned());
    words.push(trial.as_str().to_owned());
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn place(arguments: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            break;
        }
        if !word.starts_with("--") {
            continue;
        }
        let name = word.split('=').next().unwrap_or(word);
        let inline = name.len() < word.len();
        if let Some((_, values)) = DROPPED.iter().find(|(dropped, _)| *dropped == name) {
            if !inline {
                rest.by_ref().take(*values).for_each(drop);
            }
            continue;
        }
        kept.push(word.clone());
        if KEPT_WITH_VALUE.contains(&name) && !inline {
            kept.extend(rest.next().cloned());
        }
    }
    kept
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(line: &[&str]) -> String {
        let words: Vec<String> = line.iter().map(|w| (*w).to_owned()).collect();
        reproduce(&words, &"mesh::ready[infra->apps]".into())
    }

    #[test]
    fn keeps_the_place_and_drops_the_selection() {
        assert_eq!(
            again(&[
                "meshproof",
                "run",
                "dns",
                "--infra-context",
                "my infra",
                "--apps-context=apps",
                "--suite",
                "dns"
            ]),
            "meshproof run --infra-context 'my infra' --apps-context=apps --exact 'mesh::ready[infra->apps]'"
        );
        assert_eq!(
            again(&[
                "target/release/meshproof",
                "run",
                "--lab",
                "--lab-fault",
                "udp-dropped",
                "--format",
                "json",
                "x"
            ]),
            "target/release/meshproof run --lab --lab-fault udp-dropped --exact 'mesh::ready[infra->apps]'"
        );
    }

    #[test]
    fn a_run_of_prove_is_repeated_in_the_lab() {
        assert_eq!(
            again(&["meshproof", "prove", "udp-dropped"]),
            "meshproof run --lab --exact 'mesh::ready[infra->apps]'"
        );
        assert_eq!(again(&[]), "meshproof run --lab --exact 'mesh::ready[infra->apps]'");
    }

    #[test]
    fn quotes_survive_a_shell() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
