//! What an unquoted scalar means to Helm (YAML 1.1, as sigs.k8s.io/yaml reads it).

use super::Value;

/// The value of an unquoted scalar.
pub(super) fn plain(text: &str) -> Value {
    let Some(first) = text.bytes().next() else {
        return Value::Null;
    };
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => number(text).unwrap_or_else(|| Value::Text(text.to_owned())),
        b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'y' | b'Y' | b'o' | b'O' => word(text),
        _ => Value::Text(text.to_owned()),
    }
}

fn word(text: &str) -> Value {
    match text {
        "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => Value::Text(text.to_owned()),
    }
}

fn number(text: &str) -> Option<Value> {
    let (sign, digits) = match text.as_bytes()[0] {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let plain = digits.replace('_', "");
    let radix = |prefix: &str, radix| {
        plain
            .strip_prefix(prefix)
            .map(|rest| i64::from_str_radix(rest, radix).ok())
    };
    let whole = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, base)| radix(prefix, base));
    if let Some(whole) = whole {
        return whole.map(|whole| Value::Int(sign * whole));
    }
    if !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit()) {
        let base = if plain.len() > 1 && plain.starts_with('0') {
            8
        } else {
            10
        };
        return i64::from_str_radix(&plain, base)
            .ok()
            .map(|whole| Value::Int(sign * whole));
    }
    let is_float = plain.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && plain.bytes().any(|byte| byte.is_ascii_digit())
        && plain
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let float = is_float.then(|| plain.parse::<f64>().ok()).flatten()?;
    Some(Value::Float(if sign < 0 { -float } else { float }))
}
