//! Names and patterns of `toFQDNs` and DNS rules.

use regex::Regex;

/// A `matchName` or `matchPattern`.
#[derive(Clone, Debug)]
pub struct NamePattern {
    text: String,
    regex: Regex,
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl NamePattern {
    /// Exactly this name; case and a final dot do not matter.
    pub fn name(name: &str) -> Self {
        let text = normal(name);
        let regex = Regex::new(&format!("^{}$", regex::escape(&text))).expect("an escaped name is a valid expression");
        Self { text, regex }
    }

    /// A pattern in which `*` stands for any number of characters of a name except the dot, and a lone `*` for every
    /// name (docs.cilium.io, "DNS based": `*` within a domain does not match a dot; recorded with 1.18.3).
    pub fn pattern(pattern: &str) -> Self {
        let text = normal(pattern);
        let body = if text == "*" {
            ".*".to_owned()
        } else {
            regex::escape(&text).replace("\\*", "[-a-z0-9_]*")
        };
        let regex = Regex::new(&format!("^{body}$")).expect("an escaped pattern is a valid expression");
        Self { text, regex }
    }

    /// Whether the name fits.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(&normal(name))
    }

    /// The text as written, normalised.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_does_not_match_a_dot() {
        let pattern = NamePattern::pattern("*.outside.example");
        assert!(pattern.matches("one.outside.example."));
        assert!(
            !pattern.matches("a.wild.outside.example"),
            "recorded: *.outside.example does not cover a.wild.outside.example"
        );
        assert!(!pattern.matches("outside.example"));
        assert!(NamePattern::pattern("*").matches("any.thing.at.all"));
        assert!(NamePattern::pattern("sub*.example").matches("subway.example"));
    }

    #[test]
    fn names_are_exact_but_for_case_and_the_final_dot() {
        let name = NamePattern::name("One.Outside.Example");
        assert!(name.matches("one.outside.example."));
        assert!(!name.matches("xone.outside.example"));
        assert!(!NamePattern::name("a.b").matches("axb"));
    }
}
