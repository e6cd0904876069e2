//! HTTP and DNS rules of a port, and names.

use super::super::{ParseError, elements, only_keys};
use crate::{
    fqdn::NamePattern,
    model::{HttpMatch, L7},
};
use regex::Regex;
use serde_json::Value;

pub(super) fn l7(rules: &Value, place: &str) -> Result<L7, ParseError> {
    if rules.is_null() {
        return Ok(L7::None);
    }
    if let Some(what) = ["kafka", "l7", "l7proto"].into_iter().find(|key| !rules[key].is_null()) {
        return Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: what.to_owned(),
        });
    }
    only_keys(rules, &["http", "dns"], &format!("{place}.rules"))?;
    let is_empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    match (&rules["http"], &rules["dns"]) {
        (Value::Null, Value::Null) => Err(ParseError::invalid(place, "rules without http or dns (semantics A50)")),
        // An empty list asks for no proxy at all (semantics A24; pkg/policy/l4.go).
        (list, Value::Null) | (Value::Null, list) if is_empty(list) => Ok(L7::None),
        (http, Value::Null) => Ok(L7::Http(
            elements(http, place)?
                .iter()
                .map(|m| http_match(m, place))
                .collect::<Result<_, _>>()?,
        )),
        (Value::Null, dns) => Ok(L7::Dns(
            elements(dns, place)?
                .iter()
                .map(|n| names(n, place))
                .collect::<Result<_, _>>()?,
        )),
        _ => Err(ParseError::invalid(place, "http and dns in one rule")),
    }
}

fn http_match(rule: &Value, place: &str) -> Result<HttpMatch, ParseError> {
    only_keys(
        rule,
        &["method", "path", "host", "headers", "headerMatches"],
        &format!("{place}.rules.http"),
    )?;
    // The proxy compares the whole value: an expression is anchored at both ends.
    let expression = |key: &str| match rule[key].as_str().filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => Regex::new(&format!("^(?:{text})$"))
            .map(Some)
            .map_err(|e| ParseError::invalid(place, e.to_string())),
    };
    let mut headers = Vec::new();
    for header in elements(&rule["headers"], place)? {
        let text = header
            .as_str()
            .ok_or_else(|| ParseError::kind(place, "a header", header))?;
        // Split at the first space, and nowhere else; the value is taken as it is (semantics A26;
        // pkg/envoy/xds_server.go).
        let (name, value) = text
            .split_once(' ')
            .map_or((text, None), |(name, value)| (name.trim_end_matches(':'), Some(value)));
        headers.push((name.to_ascii_lowercase(), value.map(str::to_owned)));
    }
    for header in elements(&rule["headerMatches"], place)? {
        only_keys(
            header,
            &["mismatch", "name", "value"],
            &format!("{place}.headerMatches"),
        )?;
        let name = header["name"]
            .as_str()
            .ok_or_else(|| ParseError::kind(place, "a header name", header))?;
        match header["mismatch"].as_str() {
            None | Some("") => {
                let value = header["value"].as_str().filter(|value| !value.is_empty());
                headers.push((name.to_ascii_lowercase(), value.map(str::to_owned)));
            }
            // With an action the request passes, whatever the header is.
            Some("LOG" | "ADD" | "DELETE" | "REPLACE") => {}
            Some(_) => return Err(ParseError::kind(place, "LOG, ADD, DELETE or REPLACE", header)),
        }
    }
    Ok(HttpMatch {
        method: expression("method")?,
        path: expression("path")?,
        host: expression("host")?,
        headers,
    })
}

pub(super) fn names(value: &Value, place: &str) -> Result<NamePattern, ParseError> {
    only_keys(value, &["matchName", "matchPattern"], place)?;
    let allowed = |text: &str, more: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c);
        !text.is_empty() && text.chars().all(fits)
    };
    match (value["matchName"].as_str(), value["matchPattern"].as_str()) {
        (Some(name), None) if !allowed(name, "") => Err(ParseError::invalid(place, format!("name {name:?}"))),
        (None, Some(name)) if !allowed(name, "*") => Err(ParseError::invalid(place, format!("pattern {name:?}"))),
        (Some(name), None) => Ok(NamePattern::name(name)),
        (None, Some(pattern)) => Ok(NamePattern::pattern(pattern)),
        _ => Err(ParseError::kind(place, "matchName or matchPattern", value)),
    }
}
