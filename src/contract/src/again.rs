//! The command line that runs one trial again.

use crate::TrialName;

/// The words of [`crate::Event::RunStarted`]'s `again` and the trial's name as one line, quoted for a POSIX shell.
pub fn again(words: &[String], trial: &TrialName) -> String {
    let words = words.iter().map(String::as_str).chain([trial.as_str()]);
    // Only a NUL byte cannot be quoted, and no argument of a process has one.
    shlex::try_join(words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
