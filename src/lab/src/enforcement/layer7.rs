//! What a proxy matches: HTTP requests and names of DNS. It knows no connection.

use regex::Regex;
use serde_json::Value;

/// One HTTP rule: everything that it names must match.
#[derive(Clone, Debug)]
pub(crate) struct HttpRule {
    method: Option<Regex>,
    path: Option<Regex>,
    host: Option<Regex>,
    headers: Vec<HeaderMatch>,
    read_from: Value,
}

/// A header that a request must have.
#[derive(Clone, Debug)]
struct HeaderMatch {
    name: String,
    /// Its value; any if absent.
    value: Option<String>,
}

impl PartialEq for HttpRule {
    fn eq(&self, other: &Self) -> bool {
        self.read_from == other.read_from
    }
}

/// What of a request a rule looks at.
pub(crate) struct Request<'a> {
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
    pub host: &'a str,
    /// Values of a header, by its name in lower case.
    pub header: &'a dyn Fn(&str) -> Vec<String>,
}

impl HttpRule {
    /// Reads a PortRuleHTTP.
    ///
    /// # Errors
    /// In words, when an expression is none.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let expression = |field: &str| match value[field].as_str() {
            // Extended POSIX expressions that must match as a whole (`pkg/policy/api/http.go`).
            Some(text) if !text.is_empty() => {
                let whole = Regex::new(&format!("^(?:{text})$")).map_err(|error| error.to_string())?;
                Ok::<_, String>(Some(whole))
            }
            _ => Ok(None),
        };
        let mut headers = Vec::new();
        for header in value["headers"].as_array().into_iter().flatten() {
            let text = header.as_str().unwrap_or_default();
            // "Name", "Name value" or "Name: value"; the first space divides (`pkg/envoy/xds_server.go`).
            let (name, value) = match text.split_once(' ') {
                Some((name, value)) => (name.trim_end_matches(':'), Some(value.to_owned())),
                None => (text, None),
            };
            headers.push(HeaderMatch {
                name: name.to_lowercase(),
                value,
            });
        }
        for header in value["headerMatches"].as_array().into_iter().flatten() {
            // With an action for a mismatch the request passes in either case.
            if header["mismatch"].as_str().is_some_and(|action| !action.is_empty()) {
                continue;
            }
            let value = header["value"].as_str().filter(|value| !value.is_empty());
            headers.push(HeaderMatch {
                name: header["name"].as_str().unwrap_or_default().to_lowercase(),
                value: value.map(str::to_owned),
            });
        }
        Ok(Self {
            method: expression("method")?,
            path: expression("path")?,
            host: expression("host")?,
            headers,
            read_from: value.clone(),
        })
    }

    /// Whether a request may pass by this rule.
    pub(crate) fn matches(&self, request: &Request<'_>) -> bool {
        let is =
            |expression: &Option<Regex>, text: &str| expression.as_ref().is_none_or(|wanted| wanted.is_match(text));
        let has = |wanted: &HeaderMatch| {
            let values = (request.header)(&wanted.name);
            match &wanted.value {
                Some(value) => values.contains(value),
                None => !values.is_empty(),
            }
        };
        is(&self.method, request.method)
            && is(&self.path, request.path)
            && is(&self.host, request.host)
            && self.headers.iter().all(has)
    }
}

/// `matchName` or `matchPattern` of a name, in lower case and without the last dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamePattern {
    /// This name.
    Exact(String),
    /// `*` stands for any number of characters of one label; alone it stands for every name.
    Pattern(String),
}

impl NamePattern {
    /// Reads an FQDNSelector or a PortRuleDNS.
    ///
    /// # Errors
    /// In words, when it names nothing or has characters that no name has.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let text = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
        let clean = |text: &str| text.trim().trim_end_matches('.').to_lowercase();
        let allowed = |text: &str, more: &str| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c))
        };
        match (text("matchName"), text("matchPattern")) {
            (Some(_), Some(_)) => Err("only one of MatchName or MatchPattern is allowed in an FQDNSelector".into()),
            (None, None) => Err("one of MatchName or MatchPattern must be specified in an FQDNSelector".into()),
            (Some(name), None) if allowed(name, "") => Ok(Self::Exact(clean(name))),
            (None, Some(pattern)) if allowed(pattern, "*") => Ok(Self::Pattern(clean(pattern))),
            (Some(bad), _) | (_, Some(bad)) => Err(format!(
                "Invalid characters in MatchName or MatchPattern: {bad:?}. Only 0-9, a-z, A-Z and ., -, _ and * are \
                 allowed"
            )),
        }
    }

    /// Whether a name is meant; it may end in a dot.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_lowercase();
        match self {
            Self::Exact(wanted) => *wanted == name,
            Self::Pattern(pattern) if pattern == "*" => true,
            Self::Pattern(pattern) => glob(pattern.as_bytes(), name.as_bytes()),
        }
    }
}

/// `*` matches characters of a name but no dot (`pkg/fqdn/matchpattern`: `[-a-zA-Z0-9_]*`).
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => {
            let run = name.iter().position(|c| *c == b'.').unwrap_or(name.len());
            (0..=run).any(|taken| glob(rest, &name[taken..]))
        }
        Some((wanted, rest)) => name
            .split_first()
            .is_some_and(|(first, left)| first == wanted && glob(rest, left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_does_not_match_a_dot() {
        let pattern = |text: &str| NamePattern::parse(&json!({"matchPattern": text})).unwrap();
        assert!(pattern("*.outside.example").matches("one.outside.example."));
        assert!(!pattern("*.outside.example").matches("a.wild.outside.example"));
        assert!(!pattern("*.outside.example").matches("outside.example"));
        assert!(pattern("on*.outside.example").matches("ONE.outside.example"));
        assert!(pattern("*").matches("a.b.c"));
        assert!(
            NamePattern::parse(&json!({"matchName": "one.example"}))
                .unwrap()
                .matches("one.example.")
        );
        assert!(NamePattern::parse(&json!({"matchName": "one*.example"})).is_err());
        assert!(NamePattern::parse(&json!({})).is_err());
    }

    #[test]
    fn a_request_must_match_everything_as_a_whole() {
        let rule = json!({"method": "GET", "path": "/public/.*", "headers": ["X-Token: secret", "X-Any"]});
        let rule = HttpRule::parse(&rule).unwrap();
        let is = |method: &str, path: &str, token: &str| {
            let header = |name: &str| match name {
                "x-token" => vec![token.to_owned()],
                "x-any" => vec![String::new()],
                _ => Vec::new(),
            };
            rule.matches(&Request {
                method,
                path,
                host: "echo",
                header: &header,
            })
        };
        assert!(is("GET", "/public/a", "secret"));
        assert!(!is("POST", "/public/a", "secret"));
        assert!(!is("GET", "/private/public/a", "secret"));
        assert!(!is("GET", "/public/a", "guess"));
    }
}
