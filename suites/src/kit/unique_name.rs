//! Names that nothing else has used: an answer for one of them cannot come from a cache or an earlier run.

/// The prefix with a random suffix; a valid DNS label.
pub fn label(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..10])
}
