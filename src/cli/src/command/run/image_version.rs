//! Whether the probe image is of this version, as far as its tag tells: known before anything is deployed.

use meshproof_image::ImageReference;

/// What to say of an image whose tag is another version than ours; none where the tag is ours, or no version.
pub fn warning(reference: &str) -> Option<String> {
    let own = env!("CARGO_PKG_VERSION");
    let parsed: ImageReference = reference.parse().ok()?;
    let tag = parsed.tag();
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let is_version = version.split('.').count() == 3
        && version
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
    (is_version && version != own).then(|| {
        format!(
            "image {reference} is tagged {tag}, but this is meshproof {own}: agents of another version may not be \
             understood; `meshproof image --push` makes one that fits"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_version_is_worth_a_word() {
        let own = env!("CARGO_PKG_VERSION");
        for silent in [
            &format!("registry.example/agent:{own}"),
            &format!("registry.example/agent:v{own}"),
            "meshproof.dev/agent:lab",
            "registry.example/agent:1",
            "registry.example/agent@sha256:00",
        ] {
            assert_eq!(warning(silent), None, "{silent}");
        }
        let other = warning("registry.example/agent:v9.8.7").expect("a warning");
        assert!(other.contains("v9.8.7") && other.contains(own), "{other}");
    }
}
