//! Label and field selectors: parsing, matching, and the selectors inside objects (`spec.selector`).

use crate::error::ApiError;
use serde_json::Value;
use std::fmt;

/// A label selector such as `app=web,tier in (a, b),!legacy`. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    Equals(String),
    Differs(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// All of these labels.
    pub fn labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirement = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            test: Test::Equals(value.to_owned()),
        };
        Self {
            requirements: labels.into_iter().map(requirement).collect(),
        }
    }

    /// From the text of a query (`labelSelector=`). 400 when it cannot be parsed.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let requirements = split(text).map(requirement).collect::<Result<_, _>>().map_err(|why| {
            ApiError::bad_request(format!(
                "unable to parse requirement: {why} in label selector \"{text}\""
            ))
        })?;
        Ok(Self { requirements })
    }

    /// From a `metav1.LabelSelector` (`matchLabels`, `matchExpressions`), or from a plain map as in a Service or
    /// ReplicationController. An absent (null) selector matches nothing; an empty one everything.
    pub fn from_object(selector: &Value) -> Option<Self> {
        let map = selector.as_object()?;
        if !map.contains_key("matchLabels") && !map.contains_key("matchExpressions") {
            return Some(Self::labels(crate::object::strings(selector)));
        }
        let mut this = Self::labels(crate::object::strings(&selector["matchLabels"]));
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str()?.to_owned();
            let values = || {
                let list = expression["values"].as_array().into_iter().flatten();
                list.filter_map(|v| v.as_str().map(str::to_owned)).collect::<Vec<_>>()
            };
            let test = match expression["operator"].as_str()? {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                _ => return None,
            };
            this.requirements.push(Requirement { key, test });
        }
        Some(this)
    }

    /// True when it has no requirement.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object's labels satisfy it.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(&object["metadata"]["labels"])
    }

    /// Whether a map of labels satisfies it.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.requirements
            .iter()
            .all(|r| r.holds(labels[r.key.as_str()].as_str()))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Equals(wanted) => value == Some(wanted),
            Test::Differs(unwanted) => value != Some(unwanted),
            Test::In(wanted) => value.is_some_and(|v| wanted.iter().any(|w| w == v)),
            Test::NotIn(unwanted) => !value.is_some_and(|v| unwanted.iter().any(|w| w == v)),
            Test::Greater(bound) => number().is_some_and(|n| n > *bound),
            Test::Less(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::Exists => write!(f, "{key}")?,
                Test::Absent => write!(f, "!{key}")?,
                Test::Equals(value) => write!(f, "{key}={value}")?,
                Test::Differs(value) => write!(f, "{key}!={value}")?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Greater(bound) => write!(f, "{key}>{bound}")?,
                Test::Less(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// Splits at commas outside parentheses, leaving out empty parts.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let of = |key: &str, test| {
        let key = key.trim();
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if key.is_empty() || !key.chars().all(known) {
            return Err(format!("\"{key}\" is not a label key"));
        }
        Ok(Requirement {
            key: key.to_owned(),
            test,
        })
    };
    let value = |text: &str| {
        let text = text.trim();
        if text.len() > 63
            || !text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            return Err(format!("\"{text}\" is not a label value"));
        }
        Ok(text.to_owned())
    };
    let number = |text: &str| {
        text.trim()
            .parse::<i64>()
            .map_err(|_| format!("\"{text}\" is not an integer"))
    };
    if let Some((head, list)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
        let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => of(key, Test::In(values)),
            (Some(key), Some("notin"), None) => of(key, Test::NotIn(values)),
            _ => Err(format!("\"{text}\" is neither in nor notin")),
        };
    }
    if let Some((key, unwanted)) = text.split_once("!=") {
        return of(key, Test::Differs(value(unwanted)?));
    }
    if let Some((key, wanted)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return of(key, Test::Equals(value(wanted)?));
    }
    if let Some((key, bound)) = text.split_once('>') {
        return of(key, Test::Greater(number(bound)?));
    }
    if let Some((key, bound)) = text.split_once('<') {
        return of(key, Test::Less(number(bound)?));
    }
    match text.strip_prefix('!') {
        Some(key) => of(key, Test::Absent),
        None => of(text, Test::Exists),
    }
}

/// A field selector such as `metadata.name=web,spec.nodeName!=infra-1`. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// From the text of a query (`fieldSelector=`). 400 when it cannot be parsed.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let term = |part: &str| {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, value, true)
            } else {
                let why = format!("invalid field selector: '{part}'; can't understand '{part}'");
                return Err(ApiError::bad_request(why));
            };
            Ok(Term {
                field: field.trim().to_owned(),
                value: value.trim().to_owned(),
                equal,
            })
        };
        let terms = text
            .split(',')
            .filter(|part| !part.trim().is_empty())
            .map(term)
            .collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// True when it has no term.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The name, when the selector asks for exactly one by `metadata.name=`.
    pub fn name(&self) -> Option<&str> {
        self.terms
            .iter()
            .find(|t| t.equal && t.field == "metadata.name")
            .map(|t| t.value.as_str())
    }

    /// The fields asked about.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|t| t.field.as_str())
    }

    /// Whether an object satisfies it. An absent field counts as the empty string, as in Kubernetes.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| {
            let found = term.field.split('.').fold(object, |at, key| &at[key]);
            let equal = match found {
                Value::Null => term.value.is_empty(),
                Value::String(text) => *text == term.value,
                Value::Bool(flag) => term.value == if *flag { "true" } else { "false" },
                other => other.as_i64().is_some_and(|number| term.value.parse() == Ok(number)),
            };
            equal == term.equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldSelector, LabelSelector};
    use proptest::prelude::*;
    use serde_json::json;

    fn matches(selector: &str) -> bool {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front", "size": "7"}}});
        LabelSelector::parse(selector)
            .expect("the selector parses")
            .matches(&object)
    }

    #[test]
    fn every_operator_is_understood() {
        for holds in [
            "",
            "app",
            "!legacy",
            "app=web",
            "app==web",
            "app!=db",
            "legacy!=x",
            "app in (web, db)",
            "app notin (db)",
            "x notin (y)",
            "size>6",
            "size<8",
            "app=web,tier in (front,back),!legacy",
        ] {
            assert!(matches(holds), "{holds:?} must match");
        }
        for fails in [
            "legacy",
            "!app",
            "app=db",
            "app!=web",
            "app notin (web,db)",
            "size>7",
            "app=web,tier=back",
        ] {
            assert!(!matches(fails), "{fails:?} must not match");
        }
    }

    #[test]
    fn garbage_is_a_bad_request() {
        for text in ["a b c", "app in web", "a=b=c", "=x", "app>many", "a=(b"] {
            assert!(LabelSelector::parse(text).is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn selectors_of_objects() {
        let pod = json!({"metadata": {"labels": {"a": "1"}}});
        let by = |selector| LabelSelector::from_object(&selector).map(|s| s.matches(&pod));
        assert_eq!(by(json!(null)), None);
        assert_eq!(by(json!({})), Some(true));
        assert_eq!(by(json!({"a": "1"})), Some(true));
        assert_eq!(by(json!({"matchLabels": {"a": "2"}})), Some(false));
        let expression = |operator| json!({"matchExpressions": [{"key": "a", "operator": operator, "values": ["1"]}]});
        assert_eq!(by(expression("In")), Some(true));
        assert_eq!(by(expression("NotIn")), Some(false));
    }

    #[test]
    fn fields_are_paths() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "hostNetwork": true}});
        let by = |text| FieldSelector::parse(text).expect("the selector parses").matches(&pod);
        assert!(by("metadata.name=p,spec.nodeName!=n2,spec.hostNetwork=true"));
        assert!(by("status.phase="), "an absent field is empty");
        assert!(!by("spec.nodeName=n2"));
    }

    proptest! {
        #[test]
        fn a_printed_selector_parses_to_itself(
            pairs in proptest::collection::vec(("[a-z]{1,8}", "[a-z0-9]{0,8}", 0..5u8), 0..6)
        ) {
            let part = |(key, value, kind): &(String, String, u8)| match kind {
                0 => format!("{key}={value}"),
                1 => format!("{key}!={value}"),
                2 => format!("{key} in ({value},x)"),
                3 => format!("!{key}"),
                _ => key.clone(),
            };
            let text = pairs.iter().map(part).collect::<Vec<_>>().join(",");
            let once = LabelSelector::parse(&text).expect("a generated selector parses");
            prop_assert_eq!(LabelSelector::parse(&once.to_string()).expect("a printed selector parses"), once);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = LabelSelector::parse(&text);
            let _ = FieldSelector::parse(&text);
        }
    }
}
