//! A command line: words and flags, as cobra reads them, and what it answers to unknown ones.

use super::answer::Answer;

/// Flags that take a value. All others are switches.
const WITH_VALUE: [&str; 16] = [
    "output", "last", "first", "since", "until", "verdict", "type", "protocol", "pod", "from-pod", "to-pod", "ip",
    "from-ip", "to-ip", "server", "timeout",
];
/// Short names.
const SHORT: [(&str, &str); 3] = [("o", "output"), ("t", "type"), ("v", "verbose")];

/// Words and flags.
#[derive(Debug)]
pub(crate) struct CommandLine {
    words: Vec<String>,
    flags: Vec<(String, Option<String>)>,
    /// Whether the output flag was given by its short name.
    short_output: bool,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For humans.
    Text,
    /// For programs.
    Json,
}

/// A command line that means nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError(String);

impl UsageError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub(crate) fn unknown_command(words: &[&str]) -> Self {
        Self(format!("unknown command \"{}\"", words.join(" ")))
    }

    /// What the program writes: exit code 1, as cobra.
    pub(crate) fn answer(self, program: &str) -> Answer {
        Answer::failed(&format!(
            "Error: {} for \"{program}\"\nUsage:\n  {program} [command]\n\nRun '{program} --help' for usage.\n",
            self.0
        ))
    }
}

impl CommandLine {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, UsageError> {
        let mut line = Self {
            words: Vec::new(),
            flags: Vec::new(),
            short_output: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, mut value) = if let Some(long) = argument.strip_prefix("--") {
                match long.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (long.to_owned(), None),
                }
            } else if let Some(short) = argument.strip_prefix('-').filter(|short| !short.is_empty()) {
                let (letter, rest) = short.split_at(short.chars().next().map_or(0, char::len_utf8));
                let known = SHORT.iter().find(|(known, _)| *known == letter);
                let (_, name) =
                    known.ok_or_else(|| UsageError(format!("unknown shorthand flag: '{letter}' in {argument}")))?;
                line.short_output |= *name == "output";
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                ((*name).to_owned(), (!rest.is_empty()).then(|| rest.to_owned()))
            } else {
                line.words.push(argument.clone());
                continue;
            };
            if value.is_none() && WITH_VALUE.contains(&name.as_str()) {
                let next = arguments
                    .next()
                    .ok_or_else(|| UsageError(format!("flag needs an argument: --{name}")))?;
                value = Some(next.clone());
            }
            line.flags.push((name, value));
        }
        // `debuginfo` has a flag --output, but no short form of it.
        if line.short_output && line.words.first().is_some_and(|word| word == "debuginfo") {
            return Err(UsageError("unknown shorthand flag: 'o' in -o".to_owned()));
        }
        Ok(line)
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Fails if there is any other flag than these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), UsageError> {
        match self.flags.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(UsageError(format!("unknown flag: --{name}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|(name, _)| name == flag)
    }

    pub(crate) fn values(&self, flag: &str) -> impl Iterator<Item = &str> {
        self.flags
            .iter()
            .filter(move |(name, _)| name == flag)
            .filter_map(|(_, value)| value.as_deref())
    }

    pub(crate) fn format(&self, flag: &str) -> Result<Format, UsageError> {
        match self.values(flag).last() {
            None => Ok(Format::Text),
            Some("json") => Ok(Format::Json),
            Some(other) => Err(UsageError(format!("invalid output format \"{other}\""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CommandLine, UsageError> {
        CommandLine::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_spelling_of_the_output_flag_is_read() {
        for text in [
            "status -o json",
            "status -ojson",
            "status -o=json",
            "status --output json",
            "status --output=json",
        ] {
            let line = parse(text).unwrap();
            assert_eq!(line.words().collect::<Vec<_>>(), ["status"], "{text}");
            assert_eq!(line.format("output"), Ok(Format::Json), "{text}");
        }
        assert_eq!(parse("status").unwrap().format("output"), Ok(Format::Text));
    }

    #[test]
    fn debuginfo_has_no_short_output_flag() {
        assert!(parse("debuginfo --output json").is_ok());
        assert_eq!(
            parse("debuginfo -o json").unwrap_err(),
            UsageError("unknown shorthand flag: 'o' in -o".into())
        );
    }

    #[test]
    fn unknown_flags_are_refused() {
        let line = parse("status --frobnicate").unwrap();
        assert_eq!(
            line.only(&["output"]),
            Err(UsageError("unknown flag: --frobnicate".into()))
        );
        assert!(parse("status --output").is_err(), "a value is missing");
    }
}
