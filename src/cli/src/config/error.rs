//! What can be wrong with `meshproof.yaml`, with file, line and column, and the word that was probably meant.

use meshproof_engine::nearest;
use serde_saphyr::Location;
use std::{io, path::PathBuf};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("failed to read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}{}: {reason}", place(*line, *column))]
    Wrong {
        /// The file.
        path: String,
        /// 1-based; 0 when unknown.
        line: u64,
        /// 1-based; 0 when unknown.
        column: u64,
        /// What is wrong, and what was probably meant.
        reason: String,
    },
}

fn place(line: u64, column: u64) -> String {
    match line {
        0 => String::new(),
        line => format!(":{line}:{column}"),
    }
}

impl ConfigError {
    /// The parser's error, reworded.
    pub(super) fn malformed(path: &str, error: &serde_saphyr::Error) -> Self {
        let text = error.without_snippet().to_string();
        // The plain text repeats the place at its end.
        let text = text.lines().next().unwrap_or_default();
        let reason = text.rsplit_once(" at line ").map_or(text, |(reason, _)| reason);
        Self::at(path, error.location().unwrap_or(Location::UNKNOWN), reworded(reason))
    }

    /// Something that only its meaning shows.
    pub(super) fn at(path: &str, place: Location, reason: String) -> Self {
        Self::Wrong {
            path: path.to_owned(),
            line: place.line(),
            column: place.column(),
            reason,
        }
    }
}

/// `did you mean x?`, or all known names when none is near.
pub(super) fn suggestion<'a>(typed: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(typed, known.clone().map(str::to_owned)).first() {
        Some(near) => format!("did you mean {near}?"),
        None => format!("expected one of: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The parser's errors about names, with the nearest name instead of a list that nobody reads.
fn reworded(reason: &str) -> String {
    if let Some((key, _)) = reason
        .strip_prefix("duplicate mapping key: ")
        .and_then(|rest| rest.split_once(','))
    {
        return format!("duplicate key '{key}'");
    }
    for (kind, problem) in [
        ("unknown field `", "unknown key"),
        ("unknown variant `", "unknown value"),
    ] {
        let Some((typed, rest)) = reason.split_once(kind).and_then(|(_, rest)| rest.split_once('`')) else {
            continue;
        };
        let known = rest.trim_start_matches(", expected ").trim_start_matches("one of ");
        let known: Vec<&str> = known
            .split([',', ' ', '`'])
            .filter(|word| !word.is_empty() && *word != "or")
            .collect();
        return format!("{problem} '{typed}'; {}", suggestion(typed, known.iter().copied()));
    }
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_comes_with_the_nearest_one() {
        assert_eq!(
            reworded("unknown field `imgae`, expected one of `image`, `jobs`"),
            "unknown key 'imgae'; did you mean image?"
        );
        assert_eq!(
            reworded("unknown field `imgae`, expected one of image, jobs"),
            "unknown key 'imgae'; did you mean image?"
        );
        assert_eq!(
            reworded("unknown variant `tls`, expected one of `wireguard`, `ipsec`, `none`"),
            "unknown value 'tls'; expected one of: wireguard, ipsec, none"
        );
        assert_eq!(
            reworded("unknown field `x`, expected `suites`"),
            "unknown key 'x'; expected one of: suites"
        );
        assert_eq!(reworded("something else"), "something else");
    }
}
