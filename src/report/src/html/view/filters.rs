//! Filters of the template.

/// Text for people as HTML: escaped, and what stands between backticks as code.
#[askama::filter_fn]
pub(super) fn prose(text: &str, _: &dyn askama::Values) -> askama::Result<String> {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let parts: Vec<&str> = escaped.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return Ok(escaped);
    }
    let part = |(index, part): (usize, &&str)| match index % 2 {
        0 => (*part).to_owned(),
        _ => format!("<code>{part}</code>"),
    };
    Ok(parts.iter().enumerate().map(part).collect())
}
