//! Flows that operators write down: in `meshproof.yaml`, or in files of their own.

use super::ConfigError;
use meshproof_contract::{
    ClusterName, Flow,
    flow::{FlowCa, FlowTls},
};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A file of flows: what `flows` of `meshproof.yaml` holds, and nothing more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowsFile {
    /// The flows.
    #[schemars(with = "Vec<Flow>")]
    flows: Vec<Spanned<Flow>>,
}

/// Flows as they are written, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows(Vec<Written>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    path: String,
    at: Location,
    flow: Flow,
}

impl Flows {
    /// Reads files of flows.
    ///
    /// # Errors
    /// A file that cannot be read, or that is not of the format.
    pub fn read(files: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut flows = Self::default();
        for path in files {
            let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                path: path.clone(),
                source,
            })?;
            flows.0.extend(Self::parse(&text, path)?.0);
        }
        Ok(flows)
    }

    /// Reads the text of a file of flows; `path` names it in errors.
    ///
    /// # Errors
    /// A text that is not of the format.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let path = path.display().to_string();
        let file: FlowsFile = serde_saphyr::from_str(text).map_err(|error| ConfigError::malformed(&path, &error))?;
        Ok(Self::of(&path, file.flows))
    }

    pub(super) fn of(path: &str, flows: Vec<Spanned<Flow>>) -> Self {
        let written = flows.into_iter().map(|flow| Written {
            path: path.to_owned(),
            at: flow.referenced,
            flow: flow.value,
        });
        Self(written.collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, and then the others.
    pub fn and(mut self, others: Flows) -> Self {
        self.0.extend(others.0);
        self
    }

    /// All of them, whether they make sense or not.
    pub fn iter(&self) -> impl Iterator<Item = &Flow> {
        self.0.iter().map(|written| &written.flow)
    }

    /// The flows of a run of these clusters, their files read. Flows that also concern clusters which are only known
    /// from the configuration are left out.
    ///
    /// # Errors
    /// A flow that makes no sense, or that is there twice; an expression or a file that cannot be read.
    pub fn resolve<'a>(
        &self,
        clusters: &[ClusterName],
        others: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Flow>, ConfigError> {
        let known: BTreeSet<ClusterName> = clusters.iter().cloned().chain(others.map(ClusterName::from)).collect();
        let known: Vec<ClusterName> = known.into_iter().collect();
        let mut names = BTreeSet::new();
        let mut flows = Vec::new();
        for Written { path, at, flow } in &self.0 {
            let wrong = |reason: String| ConfigError::at(path, *at, reason);
            flow.verify(&known).map_err(|error| wrong(error.to_string()))?;
            if !names.insert((&flow.from.cluster, &flow.name)) {
                return Err(wrong(format!("flow '{}': another one has this name", flow.name)));
            }
            let patterns = flow.expect.body.iter().chain(flow.expect.headers.values());
            for pattern in patterns {
                Regex::new(pattern).map_err(|error| wrong(format!("flow '{}': {error}", flow.name)))?;
            }
            if flow.verify(clusters).is_ok() {
                flows.push(with_files(flow, Path::new(path)).map_err(wrong)?);
            }
        }
        Ok(flows)
    }
}

/// The flow with the text of its files.
fn with_files(flow: &Flow, path: &Path) -> Result<Flow, String> {
    let mut flow = flow.clone();
    if let Some(FlowTls { ca: Some(ca), .. }) = &mut flow.to.tls
        && let FlowCa::File(file) = &*ca
    {
        let file = path.parent().unwrap_or(Path::new("")).join(file);
        let text = fs::read_to_string(&file);
        let text = text.map_err(|error| format!("flow '{}': failed to read {}: {error}", flow.name, file.display()))?;
        *ca = FlowCa::Pem(text);
    }
    Ok(flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
flows:
  - name: web reaches its database
    from: {cluster: apps, namespace: git, labels: {app: web}}
    to: {service: postgres-rw.databases, port: 5432, protocol: postgres}
    expect: {answeredBy: {cluster: infra}, p99: 150ms, availability: 99.9%}
  - name: nobody else does
    from: {cluster: apps}
    to: {service: postgres-rw.databases, port: 5432}
    expect: {allowed: false, refusal: dropped}
";

    fn resolved(text: &str, clusters: &[&str], others: &[&str]) -> Result<Vec<Flow>, String> {
        let flows = Flows::parse(text, Path::new("flows.yaml")).map_err(|error| error.to_string())?;
        let clusters: Vec<ClusterName> = clusters.iter().copied().map(ClusterName::from).collect();
        let resolved = flows.resolve(&clusters, others.iter().copied());
        resolved.map_err(|error| error.to_string())
    }

    #[test]
    fn flows_are_read_as_people_write_them() {
        let flows = resolved(TWO, &["infra", "apps"], &[]).expect("valid");
        let told: Vec<String> = flows
            .iter()
            .map(|flow| format!("{} -> {}: {}", flow.from, flow.to, flow.expect))
            .collect();
        assert_eq!(
            told,
            [
                "a pod of apps, namespace git, app=web -> postgres-rw.databases:5432 (postgres): allowed, answered by \
                 infra, p99 at most 150ms, 99.9% of tries answered",
                "a pod of apps -> postgres-rw.databases:5432 (tcp): dropped",
            ]
        );
    }

    #[test]
    fn the_examples_of_the_documentation_are_valid() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/flows.md");
        let page = fs::read_to_string(page).expect("docs/flows.md");
        let examples: Vec<&str> = page
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        assert_eq!(examples.len(), 10);
        for example in examples {
            let example = example.replace("{ file: relay-ca.pem }", "{ pem: '' }");
            let read = resolved(&example, &["infra", "apps"], &[]).unwrap_or_else(|error| panic!("{error}\n{example}"));
            assert_eq!(read.len(), 1, "{example}");
        }
    }

    #[test]
    fn a_flow_of_a_cluster_that_is_not_in_the_run_is_left_out() {
        assert_eq!(resolved(TWO, &["apps"], &["infra"]).expect("valid").len(), 1);
        let error = resolved(TWO, &["apps"], &[]).expect_err("infra is unknown");
        assert!(
            error.starts_with("flows.yaml:2:") && error.contains("unknown cluster 'infra'"),
            "{error}"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let twice = TWO.replace("nobody else does", "web reaches its database");
        assert!(
            resolved(&twice, &["infra", "apps"], &[])
                .expect_err("twice")
                .contains("another one")
        );
        let misspelt = TWO.replace("port: 5432}", "prot: 5432}");
        let error = resolved(&misspelt, &["infra", "apps"], &[]).expect_err("a typing error");
        assert!(error.contains("unknown key 'prot'; did you mean port?"), "{error}");
    }
}
