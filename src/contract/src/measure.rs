//! Measured figures that a check leaves beside its verdict.

use crate::{NodeLabel, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A named figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// Stable name, `cross_cluster_overhead`.
    pub name: String,
    /// What it was measured on; absent for the whole check.
    #[serde(default, skip_serializing_if = "Subject::is_check")]
    pub subject: Subject,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// The distribution that the figure is taken from, in microseconds, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
}

impl Measurement {
    /// Latencies as one figure: its value is the 99th percentile, in microseconds.
    pub fn of_latencies(name: &str, subject: impl Into<Subject>, latencies: Distribution) -> Self {
        Self {
            name: name.to_owned(),
            subject: subject.into(),
            value: latencies.p99 as f64,
            unit: Unit::Microseconds,
            distribution: Some(latencies),
        }
    }
    /// The figure for people: `1420 B`, `median 2.17 ms, p99 4.16 ms of 1000 samples`.
    pub fn figure(&self) -> String {
        match &self.distribution {
            Some(latencies) => {
                let micros = |value: u64| Unit::Microseconds.quantity(value as f64);
                let (median, p99) = (micros(latencies.p50), micros(latencies.p99));
                format!(
                    "median {median}, p99 {p99} of {}",
                    text::counted(latencies.count as usize, "sample")
                )
            }
            None => self.unit.quantity(self.value),
        }
    }
}

/// What a figure was measured on. In JSON a pair of nodes is an object with `from` and `to`, a node one with `cluster`
/// and `node`, anything else a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Subject {
    /// The path from one node to another, or to itself.
    Pair {
        /// The source of the probes.
        from: NodeLabel,
        /// Their target.
        to: NodeLabel,
    },
    /// One node, such as that of a client.
    Node(NodeLabel),
    /// Anything else that has a name: a cluster, a workload, a service.
    Named(String),
    /// The whole check.
    #[default]
    Check,
}

impl Subject {
    /// Whether it is the whole check.
    pub fn is_check(&self) -> bool {
        *self == Subject::Check
    }
}

impl fmt::Display for Subject {
    /// `infra-1 -> apps-2`, the name, or nothing for the whole check.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Pair { from, to } => write!(f, "{from} -> {to}"),
            Subject::Node(node) => node.fmt(f),
            Subject::Named(name) => f.write_str(name),
            Subject::Check => Ok(()),
        }
    }
}

/// The two ends of a pair, as agents' facts or as labels.
impl<A: Into<NodeLabel>, B: Into<NodeLabel>> From<(A, B)> for Subject {
    fn from((from, to): (A, B)) -> Self {
        Subject::Pair {
            from: from.into(),
            to: to.into(),
        }
    }
}

impl From<NodeLabel> for Subject {
    fn from(node: NodeLabel) -> Self {
        Subject::Node(node)
    }
}

impl From<&NodeLabel> for Subject {
    fn from(node: &NodeLabel) -> Self {
        Subject::Node(node.clone())
    }
}

/// A name; the empty one is the whole check.
impl From<String> for Subject {
    fn from(name: String) -> Self {
        if name.is_empty() {
            Subject::Check
        } else {
            Subject::Named(name)
        }
    }
}

impl From<&String> for Subject {
    fn from(name: &String) -> Self {
        name.clone().into()
    }
}

impl From<&str> for Subject {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

/// Units of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Unit {
    Microseconds,
    Milliseconds,
    Seconds,
    Bytes,
    Count,
    Ratio,
}

impl Unit {
    /// A value of this unit for people, in the largest unit that keeps it readable: `412 µs`, `2.35 ms`, `1420 B`.
    pub fn quantity(self, value: f64) -> String {
        let micros = match self {
            Unit::Microseconds => value,
            Unit::Milliseconds => value * 1e3,
            Unit::Seconds => value * 1e6,
            Unit::Bytes => return format!("{value:.0} B"),
            Unit::Count => return text::significant(value),
            Unit::Ratio => return format!("{value:.3}"),
        };
        if micros.abs() < 1e3 {
            format!("{micros:.0} µs")
        } else if micros.abs() < 1e6 {
            format!("{} ms", text::significant(micros / 1e3))
        } else {
            format!("{} s", text::significant(micros / 1e6))
        }
    }
    /// The customary abbreviation; empty for counts and ratios.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::Microseconds => "µs",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Bytes => "B",
            Unit::Count | Unit::Ratio => "",
        }
    }
}

/// Quantiles of a set of samples in microseconds (nearest rank).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Distribution {
    pub count: u64,
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Distribution {
    /// The distribution of samples; none when there are none.
    pub fn of(samples: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = samples.into_iter().collect();
        sorted.sort_unstable();
        let rank = |q: f64| sorted[((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self {
            count: sorted.len() as u64,
            min,
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_readable() {
        assert_eq!(Unit::Microseconds.quantity(412.0), "412 µs");
        assert_eq!(Unit::Microseconds.quantity(2350.0), "2.35 ms");
        assert_eq!(Unit::Seconds.quantity(0.4), "400 ms");
        assert_eq!(Unit::Bytes.quantity(1420.0), "1420 B");
        assert_eq!(Unit::Count.quantity(1000.0), "1000");
    }

    #[test]
    fn latencies_are_shown_with_their_quantiles() {
        let latencies = Distribution::of(1..=1000).expect("samples");
        let measured = Measurement::of_latencies("round_trip", "", latencies);
        assert_eq!(measured.value, 990.0);
        assert_eq!(measured.figure(), "median 500 µs, p99 990 µs of 1000 samples");
    }

    #[test]
    fn a_subject_reads_well_in_json_and_comes_back() {
        let node = |name: &str| NodeLabel::pod(&"infra".into(), &name.into());
        for (subject, json) in [
            (
                Subject::from((node("infra-1"), node("infra-2"))),
                r#"{"from":{"cluster":"infra","node":"infra-1"},"to":{"cluster":"infra","node":"infra-2"}}"#,
            ),
            (
                Subject::from(node("infra-1")),
                r#"{"cluster":"infra","node":"infra-1"}"#,
            ),
            (Subject::from("failover-local"), r#""failover-local""#),
            (Subject::from(""), "null"),
        ] {
            let written = serde_json::to_string(&subject).expect("encodes");
            assert_eq!(written, json);
            assert_eq!(serde_json::from_str::<Subject>(&written).expect("decodes"), subject);
        }
    }

    #[test]
    fn quantiles_are_nearest_rank() {
        let d = Distribution::of(1..=100).expect("samples");
        assert_eq!((d.min, d.p50, d.p90, d.p99, d.max), (1, 50, 90, 99, 100));
        assert_eq!(Distribution::of([]), None);
        assert_eq!(Distribution::of([7]).expect("one").p99, 7);
    }
}
