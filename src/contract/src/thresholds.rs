//! Thresholds: the service levels that the operators promise, and the defaults where they promise nothing. A check that
//! measures compares with these and never with a number of its own.
//!
//! One table below holds key, default and meaning of each. [`Thresholds`], [`ThresholdOverrides`] (what a file or a lab
//! states of them) and [`Thresholds::rows`] (what documents list) are made of it. Knows nothing of files.

mod percent;
mod span;

pub use percent::Percent;
pub use span::{Span, parse_duration, write_duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A value of a threshold, as people write it.
trait Written: Sized {
    fn read(text: &str) -> Result<Self, String>;
    fn write(&self) -> String;
}

impl Written for Duration {
    fn read(text: &str) -> Result<Self, String> {
        parse_duration(text)
    }
    fn write(&self) -> String {
        write_duration(*self)
    }
}

impl Written for Percent {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

/// One threshold for a document: `recovery`, what it limits, `60s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdRow {
    /// The key in `meshproof.yaml`.
    pub key: String,
    /// What it limits: one sentence.
    pub about: &'static str,
    /// Its value, as it is written there.
    pub value: String,
}

macro_rules! thresholds {
    ($($field:ident: $kind:ty as $written:ty = $default:expr, $about:literal;)+) => {
        /// The service levels of a run, the same for all clusters. Durations are written as people write them: `60s`,
        /// `1500ms`; shares as `99.9%`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct Thresholds {
            $(
                #[doc = $about]
                #[serde(with = "text")]
                #[schemars(with = "String")]
                pub $field: $kind,
            )+
        }

        impl Default for Thresholds {
            /// The service levels that meshproof was made for; where none was promised, what a healthy mesh keeps with
            /// a wide margin.
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        /// The thresholds that somebody states, by the keys of `meshproof.yaml`; the others stay as they are.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct ThresholdOverrides {
            $(
                #[doc = $about]
                pub $field: Option<$written>,
            )+
        }

        impl ThresholdOverrides {
            /// `base` with what is stated here.
            pub fn over(&self, base: Thresholds) -> Thresholds {
                Thresholds { $($field: self.$field.map_or(base.$field, <$kind>::from),)+ }
            }
        }

        impl Thresholds {
            /// All of them, in the order of their documentation.
            pub fn rows(&self) -> Vec<ThresholdRow> {
                vec![$(ThresholdRow {
                    key: camel_case(stringify!($field)),
                    about: $about,
                    value: self.$field.write(),
                },)+]
            }
        }
    };
}

thresholds! {
    recovery: Duration as Span = Duration::from_secs(60),
        "Longest outage of a stream of probes after a failure, until every probe is answered again.";
    fail_back: Duration as Span = Duration::from_secs(60),
        "Longest time until local backends that have returned answer again instead of remote ones.";
    availability: Percent as Percent = Percent::from_thousandths(99_900),
        "Lowest share of requests that succeed.";
    propagation: Duration as Span = Duration::from_secs(10),
        "Longest time until a change in one cluster takes effect in another.";
    policy_enforcement: Duration as Span = Duration::from_secs(10),
        "Longest time from applying or deleting a policy until every node enforces the change.";
    endpoint_removal: Duration as Span = Duration::from_secs(2),
        "Longest time from an endpoint shown as not ready until nothing new reaches it.";
    local_latency: Duration as Span = Duration::from_millis(100),
        "Highest 99th percentile of the round-trip time within a cluster.";
    cross_cluster_latency: Duration as Span = Duration::from_millis(500),
        "Highest 99th percentile of the round-trip time between clusters.";
    cross_cluster_overhead: Duration as Span = Duration::from_millis(50),
        "Highest difference between the median round-trip times to another cluster and within the cluster.";
    dns_latency: Duration as Span = Duration::from_millis(100),
        "Highest 99th percentile of the response time of cluster DNS.";
    api_latency: Duration as Span = Duration::from_secs(1),
        "Highest median response time of the API server for a simple read.";
    certificate_age: Duration as Span = Duration::from_secs(7 * 86_400),
        "Shortest time for which certificates of Cilium, Hubble and the mesh must still be valid.";
}

/// `fail_back` as `failBack`, as serde does it.
fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |key, word| {
        let (initial, rest) = word.split_at(1);
        key + &initial.to_ascii_uppercase() + rest
    })
}

/// For `#[serde(with)]`.
mod text {
    use super::Written;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Written, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.write())
    }

    pub(super) fn deserialize<'de, T: Written, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        T::read(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_is_stated_replaces_the_base_and_nothing_else() {
        let stated = r#"{"failBack": "5s", "availability": "99%"}"#;
        let stated: ThresholdOverrides = serde_json::from_str(stated).expect("read");
        let base = Thresholds {
            recovery: Duration::from_secs(12),
            ..Thresholds::default()
        };
        let expected = Thresholds {
            fail_back: Duration::from_secs(5),
            availability: Percent::from_thousandths(99_000),
            ..base.clone()
        };
        assert_eq!(stated.over(base.clone()), expected);
        assert_eq!(ThresholdOverrides::default().over(base.clone()), base);
        assert!(serde_json::from_str::<ThresholdOverrides>(r#"{"fail_back": "5s"}"#).is_err());
    }

    #[test]
    fn every_row_can_be_stated_by_its_key_and_written_value() {
        let default = Thresholds::default();
        for row in default.rows() {
            let stated = serde_json::json!({ row.key.as_str(): row.value });
            let stated: ThresholdOverrides = serde_json::from_value(stated).expect("a key of the file");
            assert_ne!(stated, ThresholdOverrides::default(), "{row:?}");
            assert_eq!(stated.over(default.clone()), default, "{row:?}");
            assert!(row.about.ends_with('.'), "{row:?}");
        }
        let fields = serde_json::to_value(&default).expect("JSON");
        assert_eq!(default.rows().len(), fields.as_object().expect("fields").len());
    }
}
