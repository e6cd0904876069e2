//! The command line that runs one trial again.

use crate::TrialName;

/// The words of [`crate::Event::RunStarted`]'s `again` and the trial's name as one line, quoted for a POSIX shell.
pub fn again(words: &[String], trial: &TrialName) -> String {
    let words = words.iter().map(String::as_str).chain([trial.as_str()]);
    // Only a NUL byte cannot be quoted, and no argument of a process has one.
    shlex::try_join(words).unwrap_or_default()
}

/// Adds the seed of the pairs that a run observed to the words that repeat it, unless it was given.
pub(crate) fn repeat_sample(again: &mut Vec<String>, seed: u64) {
    const FLAG: &str = "--sample-seed";
    if again.iter().any(|word| word.split('=').next() == Some(FLAG)) {
        return;
    }
    let at = again.iter().position(|word| word == "--exact").unwrap_or(again.len());
    again.splice(at..at, [FLAG.to_owned(), seed.to_string()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_repeated_from_its_seed() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let repeated = |line: &str| {
            let mut again = words(line);
            repeat_sample(&mut again, 7);
            again.join(" ")
        };
        assert_eq!(
            repeated("meshproof run --exact"),
            "meshproof run --sample-seed 7 --exact"
        );
        assert_eq!(
            repeated("meshproof run --sample-seed 7 --exact"),
            "meshproof run --sample-seed 7 --exact"
        );
    }

    #[test]
    fn quotes_survive_a_shell() {
        let words = ["meshproof", "run", "--infra-context", "it's", "--exact"].map(str::to_owned);
        let line = again(&words, &"mesh::ready[infra->apps]".into());
        assert_eq!(
            shlex::split(&line).expect("a command line"),
            [
                "meshproof",
                "run",
                "--infra-context",
                "it's",
                "--exact",
                "mesh::ready[infra->apps]"
            ]
        );
        assert!(line.ends_with("'mesh::ready[infra->apps]'"), "{line}");
    }
}
