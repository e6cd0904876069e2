//! Names of images.

use std::{fmt, str::FromStr};

/// An image's name with its tag, `meshproof.dev/agent:0.1.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    given: String,
    name: String,
    tag: String,
}

/// What is given as an image's name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference {reference:?}: {why}; expected HOST/NAME:TAG")]
pub struct InvalidReference {
    reference: String,
    why: &'static str,
}

impl ImageReference {
    /// The name as nodes know it, with host and tag: a short name stands for one on docker.io, as for Docker and the
    /// kubelet.
    pub fn canonical(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
    /// The registry that holds it, with its port.
    pub fn registry(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
    /// The tag alone.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl FromStr for ImageReference {
    type Err = InvalidReference;

    /// The grammar of github.com/distribution/reference, without digests: an archive is named by a tag.
    fn from_str(reference: &str) -> Result<Self, InvalidReference> {
        let invalid = |why| InvalidReference {
            reference: reference.to_owned(),
            why,
        };
        if reference.contains('@') {
            return Err(invalid("a digest cannot be set"));
        }
        let (name, tag) = match reference.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (reference, "latest"),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let good_tag =
            tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-');
        if !good_tag {
            return Err(invalid("malformed tag"));
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
            _ => (None, name),
        };
        let good_host = host.is_none_or(|host| {
            let (host, port) = host.split_once(':').unwrap_or((host, "0"));
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
                && port.parse::<u16>().is_ok()
        });
        if !good_host {
            return Err(invalid("malformed host"));
        }
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good_path = path.split('/').all(|part| {
            part.starts_with(lower)
                && part.ends_with(lower)
                && part.chars().all(|c| lower(c) || matches!(c, '.' | '_' | '-'))
        });
        if !good_path {
            return Err(invalid(
                "the name must consist of lower-case words separated by single slashes",
            ));
        }
        let name = match host {
            Some(host) => format!("{host}/{path}"),
            None if path.contains('/') => format!("docker.io/{path}"),
            None => format!("docker.io/library/{path}"),
        };
        Ok(Self {
            given: reference.to_owned(),
            name,
            tag: tag.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_those_of_docker_io() {
        for (given, canonical) in [
            ("meshproof.dev/agent:0.1.0", "meshproof.dev/agent:0.1.0"),
            ("localhost:5000/a/b:x", "localhost:5000/a/b:x"),
            ("localhost:5000/agent", "localhost:5000/agent:latest"),
            ("agent", "docker.io/library/agent:latest"),
            ("me/agent:1", "docker.io/me/agent:1"),
        ] {
            let reference: ImageReference = given.parse().expect(given);
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.to_string(), given);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for given in [
            "",
            "Agent:1",
            "a//b",
            "a:",
            "a:b:c d",
            "x@sha256:00",
            "host:port/a",
            "a/",
            "-a:1",
        ] {
            assert!(given.parse::<ImageReference>().is_err(), "{given:?} was taken");
        }
    }
}
