//! Claims of a file: each with the line that states it, so that a report can cite it. Never adapted to what is there.

use super::{
    error::{ConfigError, suggestion},
    file::{ByRole, ClaimsEntry},
    value::ClaimWord,
};
use meshproof_contract::{Claim, ClaimKind, ClaimSource, ClusterName};
use serde_saphyr::{Location, Spanned};
use std::path::{Path, PathBuf};

/// What the operators claim, by cluster, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    path: String,
    clusters: Vec<(ClusterName, Location, Vec<Claim>)>,
    values: Vec<(ClusterName, Vec<PathBuf>)>,
}

impl Declared {
    pub(super) fn of(path: &str, file: ByRole) -> Result<Self, ConfigError> {
        let mut clusters: Vec<(ClusterName, Location, Vec<Claim>)> = Vec::new();
        let mut values = Vec::new();
        for (role, entry) in file.0 {
            let name = ClusterName::new(&role.value);
            if clusters.iter().any(|(known, ..)| known == &name) {
                let reason = format!("duplicate claims for '{name}'");
                return Err(ConfigError::at(path, role.referenced, reason));
            }
            let claims = claims(path, &name, &entry);
            let names_files_only = claims.is_empty() && !entry.values.is_empty();
            values.push((name.clone(), entry.values));
            if !names_files_only {
                clusters.push((name, role.referenced, claims));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            clusters,
            values,
        })
    }

    /// The files of Cilium's Helm values: cluster and path, in the order in which they are merged. Paths start at the
    /// folder of the configuration.
    pub fn files_of_values(&self) -> impl Iterator<Item = (String, PathBuf)> + '_ {
        let folder = Path::new(&self.path).parent().unwrap_or(Path::new(""));
        let all = self
            .values
            .iter()
            .flat_map(|(cluster, files)| files.iter().map(move |file| (cluster, file)));
        all.map(move |(cluster, file)| (cluster.to_string(), folder.join(file)))
    }

    /// The claims for a cluster; none when the file does not name it, which is not the same as claiming nothing.
    pub fn of_cluster(&self, cluster: &ClusterName) -> Option<&[Claim]> {
        let found = self.clusters.iter().find(|(name, ..)| name == cluster);
        found.map(|(.., claims)| claims.as_slice())
    }

    /// The file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Claims for an unknown cluster would be ignored silently, so they are an error. A cluster that `others` names
    /// (the file's own contexts) may be left out of a run.
    ///
    /// # Errors
    /// The first name that is neither.
    pub fn verify<'a>(
        &self,
        clusters: &'a [ClusterName],
        others: impl Iterator<Item = &'a str>,
    ) -> Result<(), ConfigError> {
        let known: Vec<&str> = clusters.iter().map(ClusterName::as_str).chain(others).collect();
        match self.clusters.iter().find(|(name, ..)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, at, _)) => Err(ConfigError::at(
                &self.path,
                *at,
                format!(
                    "claims for unknown cluster '{name}'; {}",
                    suggestion(name.as_str(), known.iter().copied())
                ),
            )),
        }
    }
}

fn claims(path: &str, cluster: &ClusterName, entry: &ClaimsEntry) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut add = |kind, stated: Option<(&'static str, Location)>| {
        claims.extend(stated.map(|(value, at)| Claim {
            cluster: cluster.clone(),
            kind,
            value: value.to_owned(),
            source: ClaimSource::File {
                path: path.to_owned(),
                line: u32::try_from(at.line()).unwrap_or_default(),
            },
        }));
    };
    // Every field by name, so that a new one cannot be forgotten here.
    let ClaimsEntry {
        cluster_mesh,
        encryption,
        strict_encryption,
        node_encryption,
        policy,
        l7_policy,
        fqdn_policy,
        mutual_auth,
        kube_proxy_replacement,
        values: _,
    } = entry;
    add(ClaimKind::ClusterMesh, stated(cluster_mesh));
    add(ClaimKind::Encryption, stated(encryption));
    add(ClaimKind::StrictEncryption, stated(strict_encryption));
    add(ClaimKind::NodeEncryption, stated(node_encryption));
    add(ClaimKind::Policy, stated(policy));
    add(ClaimKind::L7Policy, stated(l7_policy));
    add(ClaimKind::FqdnPolicy, stated(fqdn_policy));
    add(ClaimKind::MutualAuth, stated(mutual_auth));
    add(ClaimKind::KubeProxyReplacement, stated(kube_proxy_replacement));
    claims
}

fn stated<T: ClaimWord>(value: &Option<Spanned<T>>) -> Option<(&'static str, Location)> {
    value.as_ref().map(|value| (value.value.word(), value.referenced))
}
