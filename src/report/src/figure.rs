//! Figures hidden in evidence and measurements: which pairs were seen to work, how long they took, and the rest in
//! numbers.

pub(crate) mod distribution;
pub(crate) mod matrix;
pub(crate) mod statistics;

/// `a -> b` taken apart.
pub(crate) fn pair(subject: &str) -> Option<(&str, &str)> {
    subject
        .split_once(" -> ")
        .filter(|(from, to)| !from.is_empty() && !to.is_empty() && !to.contains(" -> "))
}
