//! Version ranges as Helm and Flux write them (Masterminds semver): `1.18.3`, `>=1.18.0 <1.19.0`, `~1.18`, `1.18.x`,
//! `^1.18.0 || 1.20.1`. Pre-releases count as their release.

use std::cmp::Ordering;

/// Major, minor, patch.
pub type Version = (u64, u64, u64);

const END: Version = (u64::MAX, 0, 0);

/// A set of versions: intervals that include their start and not their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    intervals: Vec<(Version, Version)>,
}

impl Range {
    /// Reads a range; `None` where it is not one (a branch, a digest, something a template fills in).
    pub fn parse(text: &str) -> Option<Self> {
        let mut intervals = Vec::new();
        for alternative in text.split("||") {
            let (mut low, mut high) = ((0, 0, 0), END);
            for (operator, version) in comparators(alternative)? {
                let (from, to) = interval(operator, version)?;
                low = low.max(from);
                high = high.min(to);
            }
            if low < high {
                intervals.push((low, high));
            }
        }
        Some(Self { intervals })
    }

    /// Whether one version is in both.
    pub fn meets(&self, other: &Self) -> bool {
        let meets = |a: &(Version, Version)| other.intervals.iter().any(|b| a.0.max(b.0) < a.1.min(b.1));
        self.intervals.iter().any(meets)
    }

    /// Whether every version of a minor release that it allows is at least this one.
    pub fn is_at_least(&self, version: Version) -> bool {
        !self.intervals.is_empty() && self.intervals.iter().all(|(low, _)| *low >= version)
    }

    /// Whether a version of this minor release is allowed.
    pub fn allows_minor(&self, major: u64, minor: u64) -> bool {
        let interval = ((major, minor, 0), (major, minor + 1, 0));
        self.meets(&Self {
            intervals: vec![interval],
        })
    }

    /// How the versions of one lie to those of the other, where they have none in common.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        let lowest = |range: &Self| range.intervals.iter().map(|(low, _)| *low).min();
        let order = lowest(self)?.cmp(&lowest(other)?);
        (!self.meets(other)).then_some(order)
    }

    /// Its lowest version.
    pub fn lowest(&self) -> Option<Version> {
        self.intervals.iter().map(|(low, _)| *low).min()
    }
}

/// The comparators of one alternative; a hyphen range becomes two.
fn comparators(text: &str) -> Option<Vec<(&str, &str)>> {
    if let Some((from, to)) = text.split_once(" - ") {
        return Some(vec![(">=", from.trim()), ("<=", to.trim())]);
    }
    let mut found = Vec::new();
    let mut rest = text.trim_matches([' ', ',']);
    while !rest.is_empty() {
        let operator_ends = rest.find(|c: char| !"=<>!~^".contains(c))?;
        let (operator, after) = rest.split_at(operator_ends);
        let after = after.trim_start();
        let ends = after.find([' ', ',']).unwrap_or(after.len());
        found.push((operator, &after[..ends]));
        rest = after[ends..].trim_start_matches([' ', ',']);
    }
    (!found.is_empty()).then_some(found)
}

fn interval(operator: &str, version: &str) -> Option<(Version, Version)> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let version = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = version.split('.').collect();
    let number = |at: usize| -> Option<Option<u64>> {
        match parts.get(at).copied() {
            None | Some("x" | "X" | "*") => Some(None),
            Some(digits) => digits.parse().ok().map(Some),
        }
    };
    let (major, minor, patch) = (number(0)?, number(1)?, number(2)?);
    let Some(major) = major else {
        return Some(((0, 0, 0), END));
    };
    let low = (major, minor.unwrap_or(0), patch.unwrap_or(0));
    let next_major = (major + 1, 0, 0);
    let next_minor = minor.map_or(next_major, |minor| (major, minor + 1, 0));
    let next = patch.map_or(next_minor, |patch| (major, minor.unwrap_or(0), patch + 1));
    let caret = match (major, minor) {
        (0, Some(minor)) if minor > 0 || patch.is_none() => (0, minor + 1, 0),
        (0, Some(_)) => next,
        _ => next_major,
    };
    match operator {
        "" | "=" => Some((low, next)),
        ">=" | "=>" => Some((low, END)),
        ">" => Some((next, END)),
        "<" => Some(((0, 0, 0), low)),
        "<=" | "=<" => Some(((0, 0, 0), next)),
        "~" | "~>" => Some((low, next_minor)),
        "^" => Some((low, caret)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        Range::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn ranges_meet_when_one_version_is_in_both() {
        for (a, b, meet) in [
            (">=1.16.0 <1.17.0", ">=1.18.0 <1.19.0", false),
            ("1.18.x", ">=1.18.0, <1.19.0", true),
            ("1.18.3", "~1.18", true),
            ("1.18.3", "1.18.4", false),
            ("v1.18.3", "=1.18.3", true),
            ("^1.17.0", "1.18.3", true),
            ("^0.2.3", "0.3.0", false),
            ("1.16.1 || 1.18.3", "1.18", true),
            (">1.18.3", "<=1.18.3", false),
            ("1.18.0 - 1.18.5", "1.18.5", true),
            ("*", "1.18.3", true),
            ("1.18.3-rc.1", "1.18.3", true),
        ] {
            assert_eq!(range(a).meets(&range(b)), meet, "{a} and {b}");
            assert_eq!(range(b).meets(&range(a)), meet, "{b} and {a}");
        }
    }

    #[test]
    fn what_is_no_range_is_not_guessed() {
        for text in ["main", "sha256:abc", "{{ .Values.v }}", "", "1.18.3 stable"] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }

    #[test]
    fn order_and_minors_are_told() {
        let (old, new) = (range("1.16.x"), range(">=1.18.0 <1.19.0"));
        assert_eq!(old.order(&new), Some(Ordering::Less));
        assert!(new.allows_minor(1, 18) && !new.allows_minor(1, 19) && new.is_at_least((1, 18, 0)));
        assert!(!range(">=1.17.0").is_at_least((1, 18, 0)));
    }
}
