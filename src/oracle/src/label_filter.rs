//! Which labels of a pod are part of its identity: `labels` in cilium-config leaves out those that policies then cannot
//! select by (docs.cilium.io, "Limiting Identity-Relevant Labels"; Cilium's `pkg/labelsfilter`).

use regex::Regex;

/// The filter of a cluster.
#[derive(Clone, Debug, Default)]
pub struct LabelFilter(Vec<Prefix>);

#[derive(Clone, Debug)]
struct Prefix {
    /// Whether labels that it matches are left out.
    excludes: bool,
    source: String,
    pattern: Regex,
}

impl LabelFilter {
    /// Reads a list of `[!][source:]regex`; what is no expression filters nothing.
    pub fn parse(text: &str) -> Self {
        Self(text.split_whitespace().filter_map(Prefix::parse).collect())
    }

    /// Whether a label of a pod stays. With any including prefix those that none matches are left out; of those that
    /// match, the longest match decides.
    pub fn keeps(&self, key: &str) -> bool {
        let of_pods = self
            .0
            .iter()
            .filter(|prefix| ["any", "k8s"].contains(&prefix.source.as_str()));
        let matching = of_pods.filter_map(|prefix| Some((prefix.pattern.find(key)?.len(), prefix.excludes)));
        match matching.max_by_key(|(length, _)| *length) {
            Some((_, excludes)) => !excludes,
            None => self.0.iter().all(|prefix| prefix.excludes),
        }
    }
}

impl Prefix {
    fn parse(text: &str) -> Option<Self> {
        let (excludes, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (source, pattern) = rest.split_once(':').unwrap_or(("any", rest));
        Some(Self {
            excludes,
            source: source.to_owned(),
            pattern: Regex::new(&format!("^(?:{pattern})")).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(filter: &str, key: &str) -> bool {
        LabelFilter::parse(filter).keeps(key)
    }

    #[test]
    fn including_prefixes_leave_out_the_rest_and_the_longest_match_decides() {
        assert!(keeps("", "subject"));
        assert!(keeps("!k8s:pod-template-hash", "subject"));
        assert!(!keeps("!k8s:pod-template-hash !subject", "subject"));
        assert!(!keeps(r"k8s:app k8s:io\.kubernetes\.pod\.namespace", "role"));
        assert!(keeps("k8s:app k8s:role", "role"));
        assert!(!keeps("k8s:ti !k8s:tier", "tier"));
        assert!(!keeps("container:app", "app"), "labels of pods have the source k8s");
    }
}
