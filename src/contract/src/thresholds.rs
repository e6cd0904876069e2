//! Thresholds: the service levels that the operators promise, and the defaults where they say nothing. A check that measures compares
//! with these and never with a number of its own. Knows nothing of files.

mod span;

pub use span::{parse_duration, write_duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What is promised, for all clusters of a run. Durations are written as people write them: `60s`, `1500ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Thresholds {
    /// Longest outage of a stream after a failure, until it is answered again for good.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub recovery: Duration,
    /// Longest time until local backends that are back answer again instead of the remote ones.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub fail_back: Duration,
    /// Least share of requests that succeed.
    pub availability: Percent,
    /// Longest time until a change made in one cluster is felt in another.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub propagation: Duration,
    /// Longest time from applying (or deleting) a policy until every node acts on it.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub policy_enforcement: Duration,
    /// Longest time from an endpoint shown as not ready until nothing new reaches it.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub endpoint_removal: Duration,
    /// Highest 99th percentile of a round trip within a cluster.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub local_latency: Duration,
    /// Highest 99th percentile of a round trip between clusters.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub cross_cluster_latency: Duration,
    /// How much longer the median round trip to another cluster may take than one within the cluster.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub cross_cluster_overhead: Duration,
    /// Highest 99th percentile of an answer of cluster DNS.
    #[serde(with = "span::text")]
    #[schemars(with = "String")]
    pub dns_latency: Duration,
}

impl Default for Thresholds {
    /// The service levels that meshproof was made for; where none was promised, what a healthy mesh keeps with a wide margin.
    fn default() -> Self {
        Self {
            recovery: Duration::from_secs(60),
            fail_back: Duration::from_secs(60),
            availability: Percent::from_thousandths(99_900),
            propagation: Duration::from_secs(10),
            policy_enforcement: Duration::from_secs(10),
            endpoint_removal: Duration::from_secs(2),
            local_latency: Duration::from_millis(100),
            cross_cluster_latency: Duration::from_millis(500),
            cross_cluster_overhead: Duration::from_millis(50),
            dns_latency: Duration::from_millis(100),
        }
    }
}

/// A share between 0 and 100 %, exact to a thousandth of a per cent; written `99.9%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Percent(u32);

impl Percent {
    /// From thousandths of a per cent: 99,900 is 99.9 %. More than 100 % is 100 %.
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self(if thousandths > 100_000 { 100_000 } else { thousandths })
    }
    /// As a fraction of one: 0.999.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 100_000.0
    }
    /// Whether that many of so many reach the share; none of none does.
    pub fn is_reached(self, good: u64, of: u64) -> bool {
        u128::from(good) * 100_000 >= u128::from(of) * u128::from(self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match rest {
            0 => write!(f, "{whole}%"),
            rest => write!(f, "{whole}.{}%", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.to_string()
    }
}

impl TryFrom<String> for Percent {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Percent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no share; write one between 0% and 100%, such as 99.9%");
        let number = text.trim().strip_suffix('%').unwrap_or(text).trim();
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || whole.len() > 3 || rest.len() > 3 {
            return Err(wrong());
        }
        let thousandths = format!("{whole}{rest:0<3}").parse::<u32>().map_err(|_| wrong())?;
        match thousandths {
            0..=100_000 => Ok(Self(thousandths)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_it_is_written() {
        for (text, thousandths) in [
            ("99.9%", 99_900),
            ("100%", 100_000),
            ("0%", 0),
            ("99.999%", 99_999),
            ("50.05%", 50_050),
        ] {
            let read: Percent = text.parse().expect(text);
            assert_eq!(read, Percent::from_thousandths(thousandths), "{text}");
            assert_eq!(read.to_string(), text);
        }
        assert_eq!("99.9".parse(), Ok(Percent::from_thousandths(99_900)));
        for wrong in ["101%", "100.001%", "-1%", "many", "", "99.9999%", "1e2%", ".5%"] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_reached_exactly_at_its_value() {
        let share = Percent::from_thousandths(99_900);
        assert!(share.is_reached(999, 1000));
        assert!(!share.is_reached(998, 1000));
        assert!(!share.is_reached(99, 100));
        assert!(Percent::from_thousandths(100_000).is_reached(u64::MAX, u64::MAX));
    }

    #[test]
    fn thresholds_are_written_for_people_and_read_back() {
        let thresholds = Thresholds {
            propagation: Duration::from_millis(1500),
            ..Thresholds::default()
        };
        let written = serde_json::to_value(&thresholds).expect("JSON");
        assert_eq!(written["recovery"], "60s");
        assert_eq!(written["propagation"], "1500ms");
        assert_eq!(written["availability"], "99.9%");
        assert_eq!(serde_json::from_value::<Thresholds>(written).expect("read"), thresholds);
        let nothing: Thresholds = serde_json::from_str("{}").expect("a log of an older version");
        assert_eq!(nothing, Thresholds::default());
    }
}
