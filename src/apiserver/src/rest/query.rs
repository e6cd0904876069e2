//! The query of a request, read into what it means. Unknown parameters are ignored, as Kubernetes does.

use crate::decode::FieldValidation;
use crate::{
    error::{ApiError, Cause, Reason},
    selector::{FieldSelector, LabelSelector},
    store::Propagation,
};

/// How a resourceVersion of a list is to be matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    #[default]
    Unset,
    Exact,
    NotOlderThan,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub watch: bool,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    pub limit: Option<usize>,
    pub continue_token: Option<String>,
    resource_version: Option<String>,
    pub version_match: VersionMatch,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
    pub dry_run: bool,
    pub field_manager: Option<String>,
    pub force: bool,
    pub field_validation: FieldValidation,
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub include_object: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let decode = |part: &str| percent_decode(part, true);
        let pairs: Vec<(String, String)> = text
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(key, value)| (decode(key), decode(value)))
            .collect();
        let mut query = Self::default();
        for (key, value) in &pairs {
            query.take(key, value)?;
        }
        query.pairs = pairs;
        Ok(query)
    }

    /// `resourceVersion`, when it is given.
    pub fn version(&self) -> Result<Option<u64>, ApiError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| ApiError::bad_request(format!("invalid resource version \"{text}\"")))
        };
        self.resource_version.as_deref().map(parse).transpose()
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// The first value of a parameter.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A parameter that is true or false; absent is false.
    pub fn flag(&self, key: &str) -> bool {
        self.first(key).is_some_and(truth)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), ApiError> {
        let filled = || Some(value.to_owned()).filter(|v| !v.is_empty());
        match key {
            "watch" => self.watch = truth(value),
            "labelSelector" => self.labels = LabelSelector::parse(value)?,
            "fieldSelector" => self.fields = FieldSelector::parse(value)?,
            "limit" => self.limit = number(key, value)?,
            "continue" => self.continue_token = filled(),
            "resourceVersion" => self.resource_version = filled(),
            "resourceVersionMatch" => {
                self.version_match = match value {
                    "" => VersionMatch::Unset,
                    "Exact" => VersionMatch::Exact,
                    "NotOlderThan" => VersionMatch::NotOlderThan,
                    _ => return Err(wrong(key, value)),
                }
            }
            "allowWatchBookmarks" => self.bookmarks = truth(value),
            "sendInitialEvents" => self.send_initial_events = Some(truth(value)),
            "timeoutSeconds" => self.timeout_seconds = number(key, value)?,
            "dryRun" => match value {
                "" => {}
                "All" => self.dry_run = true,
                _ => {
                    let cause = Cause::unsupported("dryRun", &value.into(), &["All"]);
                    let message = format!("CreateOptions.meta.k8s.io \"\" is invalid: dryRun: {}", cause.message);
                    return Err(ApiError::new(Reason::Invalid, message));
                }
            },
            "fieldManager" => self.field_manager = filled(),
            "force" => self.force = truth(value),
            "fieldValidation" => {
                self.field_validation = match value {
                    "Ignore" => FieldValidation::Ignore,
                    "" | "Warn" => FieldValidation::Warn,
                    "Strict" => FieldValidation::Strict,
                    _ => return Err(wrong(key, value)),
                }
            }
            "gracePeriodSeconds" => self.grace_period_seconds = number(key, value)?,
            "propagationPolicy" => self.propagation = propagation(value)?,
            "orphanDependents" if truth(value) => self.propagation = Some(Propagation::Orphan),
            "includeObject" => self.include_object = filled(),
            _ => {}
        }
        Ok(())
    }
}

pub(crate) fn propagation(text: &str) -> Result<Option<Propagation>, ApiError> {
    Ok(match text {
        "" => None,
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        "Orphan" => Some(Propagation::Orphan),
        _ => return Err(wrong("propagationPolicy", text)),
    })
}

fn wrong(key: &str, value: &str) -> ApiError {
    ApiError::bad_request(format!("invalid value \"{value}\" for parameter {key}"))
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<Option<T>, ApiError> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| wrong(key, value))
}

/// As Kubernetes converts query booleans: everything but "", "0" and "false" is true.
fn truth(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "0" | "false")
}

/// Percent-decodes; in queries (not in paths) a plus is a space. What is not valid stays as it is.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) if plus_is_space => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Query, percent_decode};
    use proptest::prelude::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch&limit=5&command=ls&command=-l")
            .expect("the query parses");
        assert_eq!(query.labels.to_string(), "app=web,tier in (a)");
        assert!(query.watch);
        assert_eq!(query.limit, Some(5));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["ls", "-l"]);
        assert!(Query::parse("limit=many").is_err());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(text in "\\PC{0,40}") {
            let _ = percent_decode(&text, true);
            let _ = Query::parse(&text);
        }
    }
}
