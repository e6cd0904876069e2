//! References of images, taken apart.

/// A reference: `quay.io/cilium/cilium:v1.18.3@sha256:…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// The last part of its name: `cilium`.
    pub name: &'a str,
    /// `v1.18.3`; none where only a digest says which it is.
    pub tag: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Takes a reference apart.
    pub fn of(reference: &'a str) -> Self {
        let (named, _) = reference.split_once('@').unwrap_or((reference, ""));
        let last = named.rsplit('/').next().unwrap_or(named);
        match last.split_once(':') {
            Some((name, tag)) => Self { name, tag: Some(tag) },
            None => Self { name: last, tag: None },
        }
    }
    /// Whether Cilium's release gives it the release's own version. Envoy and hubble-ui have versions of their own.
    pub fn is_of_release(self) -> bool {
        matches!(
            self.name,
            "cilium" | "operator" | "hubble-relay" | "clustermesh-apiserver"
        ) || self.name.starts_with("operator-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let of = |reference| (Image::of(reference).name, Image::of(reference).tag);
        assert_eq!(
            of("quay.io/cilium/cilium:v1.18.3@sha256:ab"),
            ("cilium", Some("v1.18.3"))
        );
        assert_eq!(
            of("registry.example:5000/cilium/operator-generic"),
            ("operator-generic", None)
        );
        assert_eq!(of("registry.example:5000/x@sha256:ab"), ("x", None));
        assert!(Image::of("quay.io/cilium/operator-aws:v1").is_of_release());
        assert!(!Image::of("quay.io/cilium/cilium-envoy:v1").is_of_release());
    }
}
