//! A path with holes in it, as a helmfile names the values of each environment, matched against the files that exist.

/// What a path with holes matches.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Hole(String),
}

impl Pattern {
    /// Reads `../clusters/{{ .Environment.Name }}/values.yaml`.
    pub(super) fn of(path: &str) -> Self {
        let path = path.replace('⟪', "{{").replace('⟫', "}}");
        let mut parts = Vec::new();
        let mut rest = path.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((hole, after)) = after.split_once("}}") else {
                break;
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Hole(hole.trim().to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Self { parts }
    }

    /// Whether it has a hole.
    pub(super) fn has_hole(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Hole(_)))
    }

    /// What stands in the hole of the environment's name (or in the only hole) if the path matches.
    pub(super) fn role(&self, path: &str) -> Option<String> {
        let mut found = Vec::new();
        if !matches(&self.parts, path, &mut found) {
            return None;
        }
        let named = found.iter().find(|(hole, _)| hole.contains("Environment.Name"));
        let all_same = found.iter().all(|(_, text)| *text == found[0].1);
        named
            .or_else(|| found.first().filter(|_| all_same))
            .map(|(_, text)| (*text).to_owned())
    }
}

fn matches<'a>(parts: &'a [Part], path: &'a str, found: &mut Vec<(&'a str, &'a str)>) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return path.is_empty();
    };
    match first {
        Part::Text(text) => path
            .strip_prefix(text.as_str())
            .is_some_and(|path| matches(rest, path, found)),
        Part::Hole(hole) => {
            let ends = path.find('/').unwrap_or(path.len());
            (1..=ends).rev().filter(|end| path.is_char_boundary(*end)).any(|end| {
                let known = found.iter().find(|(known, _)| known == hole);
                if known.is_some_and(|(_, text)| *text != &path[..end]) {
                    return false;
                }
                found.push((hole, &path[..end]));
                let is_match = matches(rest, &path[end..], found);
                if !is_match {
                    found.pop();
                }
                is_match
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_of_the_environment_is_the_role() {
        let pattern = Pattern::of("clusters/{{ .Environment.Name }}/cilium-values.yaml");
        assert!(pattern.has_hole());
        assert_eq!(
            pattern.role("clusters/infra/cilium-values.yaml").as_deref(),
            Some("infra")
        );
        assert_eq!(pattern.role("clusters/infra/sub/cilium-values.yaml"), None);
        let pattern = Pattern::of("⟪ .Environment.Name ⟫/cilium-⟪ .Environment.Name ⟫.yaml");
        assert_eq!(pattern.role("apps/cilium-apps.yaml").as_deref(), Some("apps"));
        assert_eq!(pattern.role("apps/cilium-infra.yaml"), None);
        assert!(!Pattern::of("a/b.yaml").has_hole());
    }
}
