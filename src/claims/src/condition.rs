//! Conditions on values, as the data files write them: `encryption.enabled`, `!l7Proxy`, `encryption.type=wireguard`,
//! `loadBalancer.mode in dsr|hybrid`, `given bpf.masquerade`. Several are joined by ` & `.

use crate::values::Values;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    path: String,
    test: Test,
    negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Truthy,
    Given,
    OneOf(Vec<String>),
}

impl Condition {
    /// Reads conditions joined by `&`; an empty text has none.
    pub fn parse_all(text: &str) -> Vec<Self> {
        let parts = text.split('&').map(str::trim).filter(|part| !part.is_empty());
        parts.map(Self::parse).collect()
    }

    fn parse(text: &str) -> Self {
        let (negated, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let words = |text: &str| text.split('|').map(|word| word.trim().to_owned()).collect();
        let (negated, path, test) = if let Some(path) = rest.strip_prefix("given ") {
            (negated, path, Test::Given)
        } else if let Some((path, list)) = rest.split_once(" in ") {
            (negated, path, Test::OneOf(words(list)))
        } else if let Some((path, value)) = rest.split_once("!=") {
            (!negated, path, Test::OneOf(words(value)))
        } else if let Some((path, value)) = rest.split_once('=') {
            (negated, path, Test::OneOf(words(value)))
        } else {
            (negated, rest, Test::Truthy)
        };
        Self {
            path: path.trim().to_owned(),
            test,
            negated,
        }
    }

    /// The path that it asks about.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it holds; `None` where the value is not known.
    pub fn holds(&self, values: &Values<'_>) -> Option<bool> {
        let holds = match &self.test {
            Test::Given => values.is_given(&self.path),
            Test::Truthy => values.stated(&self.path).is_truthy()?,
            Test::OneOf(words) => words.contains(&values.text(&self.path)?),
        };
        Some(holds != self.negated)
    }
}

impl std::fmt::Display for Condition {
    /// In words: `encryption.type is wireguard`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, test, negated } = self;
        let not = if *negated { "not " } else { "" };
        match test {
            Test::Truthy if *negated => write!(f, "{path} is off"),
            Test::Truthy => write!(f, "{path} is on"),
            Test::Given => write!(f, "{path} is {not}set"),
            Test::OneOf(words) => {
                let words: Vec<_> = words
                    .iter()
                    .map(|word| if word.is_empty() { "empty" } else { word })
                    .collect();
                write!(f, "{path} is {not}{}", words.join(" or "))
            }
        }
    }
}

/// Whether all hold: `Some(false)` as soon as one does not, else `None` where one is not known.
pub fn all_hold(conditions: &[Condition], values: &Values<'_>) -> Option<bool> {
    let answers: Vec<_> = conditions.iter().map(|condition| condition.holds(values)).collect();
    if answers.contains(&Some(false)) {
        Some(false)
    } else {
        answers.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chart::Chart, place::FileId, yaml::read};

    fn holds(condition: &str) -> Option<bool> {
        let text = "encryption: {enabled: true, type: wireguard}\ncluster: {id: \"${ID}\"}\nbpf: {masquerade: false}\n";
        let given = read(text, FileId(0), 1, &mut Vec::new()).expect("YAML").expect("a map");
        let chart = Chart::new();
        let values = Values {
            chart: &chart,
            given: &given,
        };
        all_hold(&Condition::parse_all(condition), &values)
    }

    #[test]
    fn conditions_ask_values_and_defaults() {
        for condition in [
            "encryption.enabled",
            "encryption.type=wireguard & l7Proxy",
            "encryption.type!=ipsec",
            "encryption.type in ipsec|wireguard",
            "given bpf.masquerade",
            "!bpf.masquerade",
            "routingMode=",
            "",
        ] {
            assert_eq!(holds(condition), Some(true), "{condition}");
        }
        assert_eq!(holds("cluster.id=1"), None);
        assert_eq!(holds("cluster.id=1 & !l7Proxy"), Some(false));
    }

    #[test]
    fn a_condition_is_said_in_words() {
        let said = |text| Condition::parse(text).to_string();
        assert_eq!(said("!encryption.enabled"), "encryption.enabled is off");
        assert_eq!(said("encryption.type!=wireguard"), "encryption.type is not wireguard");
        assert_eq!(said("routingMode="), "routingMode is empty");
    }
}
