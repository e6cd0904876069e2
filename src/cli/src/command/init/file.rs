//! The text of the file that `meshproof init` writes: pure.

use meshproof_cluster::{Discovery, GlobalService};
use meshproof_contract::{Claim, ClaimKind, ClusterFacts};
use std::{
    collections::BTreeSet,
    fmt::{Arguments, Write as _},
};

const HEAD: &str = "\
# What meshproof verifies, written by `meshproof init` from what the clusters showed. Review it and correct what is
# not intended: from now on these are your claims. docs/configuration.md describes every key; the command line
# overrides this file.

# Role name to kubeconfig context.
contexts:
";

const CLAIMS: &str = "
# A claimed feature that is absent is a failure; checks of features that are not claimed are skipped.
claims:
";

const THRESHOLDS: &str = "
# Promised service levels; these are the defaults for these clusters.
thresholds:
";

const FLOWS: &str = "
# Who reaches what, and how well; docs/flows.md has examples. Each flow is a trial of suite flows.
# flows:
";

const REST: &str = "
# What must run at least; otherwise the exit code is 4. A skipped check has not run.
required:
  suites: [connectivity, dns]
  # checks: [mesh::agents_ready]

# Failures that are known and accepted, each until a day. The run fails once one is no longer needed.
# waivers:
# - check: service::several_ports         # `*` stands for any characters
#   instance: infra                       # or a direction, infra->apps; all without it
#   reason: two ports on one target port lose the other cluster's backends
#   link: https://github.com/cilium/cilium/issues/45109
#   until: 2027-01-31

# Allow checks to disrupt the clusters (same as --disruptive): restart Cilium agents, take nodes away, scale
# clustermesh-apiserver to zero.
disruptive: false
# Commands that cut off a node and restore it; without them, the loss of a node is emulated.
# nodePower:
#   cut: [talosctl, --context, '{context}', -n, '{node}', shutdown]
#   restore: [./power-on, '{node}']

# image: registry.example/meshproof:1   # probe image that the clusters' nodes have
# pullPolicy: IfNotPresent
# readyTimeout: 5m                      # for all probe agents; by default, as long as they make progress
# timeout: 180s                         # of one trial
# jobs: 8
# reportDir: reports
";

/// The file.
pub fn text(found: &Discovery, services: &[GlobalService]) -> String {
    let mut out = HEAD.to_owned();
    for cluster in &found.clusters {
        line(
            &mut out,
            format_args!("  {}: {}", cluster.name, quoted(&cluster.context)),
        );
    }
    out.push_str(CLAIMS);
    for cluster in &found.clusters {
        claims(&mut out, cluster, &found.claims);
    }
    out.push_str(THRESHOLDS);
    for row in found.thresholds.rows() {
        let stated = format!("{}: {}", row.key, row.value);
        line(
            &mut out,
            format_args!("  {stated:<30} # {}", row.about.trim_end_matches('.')),
        );
    }
    flows(&mut out, found, services);
    out.push_str(REST);
    out
}

/// A proposal for each global Service that another cluster may use.
fn flows(out: &mut String, found: &Discovery, services: &[GlobalService]) {
    out.push_str(FLOWS);
    let mut known = BTreeSet::new();
    for service in services {
        let GlobalService {
            cluster,
            namespace,
            name,
            port,
        } = service;
        let client = found
            .clusters
            .iter()
            .map(|other| &other.name)
            .find(|other| *other != cluster);
        let Some(client) = client.filter(|_| known.insert((namespace, name, port))) else {
            continue;
        };
        line(out, format_args!("# - name: pods of {client} reach {name} port {port}"));
        line(
            out,
            format_args!("#   from: {{cluster: {client}}}                # or a namespace, labels, serviceAccount"),
        );
        line(
            out,
            format_args!("#   to: {{service: {name}.{namespace}, port: {port}}}"),
        );
    }
}

fn claims(out: &mut String, cluster: &ClusterFacts, all: &[Claim]) {
    match &cluster.cilium {
        Some(cilium) => line(
            out,
            format_args!(
                "  # Cilium {}, Kubernetes {}",
                version(&cilium.version),
                cluster.version
            ),
        ),
        None => line(out, format_args!("  # no Cilium found; Kubernetes {}", cluster.version)),
    }
    line(out, format_args!("  {}:", cluster.name));
    let found = |kind| all.iter().find(|c| c.cluster == cluster.name && c.kind == kind);
    for (kind, absent) in [
        (ClaimKind::ClusterMesh, "false"),
        (ClaimKind::Encryption, "none"),
        (ClaimKind::StrictEncryption, "false"),
        (ClaimKind::NodeEncryption, "false"),
        (ClaimKind::Policy, "never"),
        (ClaimKind::L7Policy, "false"),
        (ClaimKind::FqdnPolicy, "false"),
        (ClaimKind::MutualAuth, "false"),
        (ClaimKind::KubeProxyReplacement, "false"),
    ] {
        match found(kind) {
            Some(claim) => {
                let stated = format!("{kind}: {}", value(claim));
                line(
                    out,
                    format_args!("    {stated:<34} # {}", one_line(&claim.source.to_string())),
                );
            }
            // Not seen does not mean absent: left out, with the line that would claim it.
            None => {
                let stated = format!("# {kind}: {absent}");
                line(
                    out,
                    format_args!("    {stated:<34} # not found in the live configuration"),
                );
            }
        }
    }
}

/// The claim's value as the file has it: details such as the names of the remotes are not claimed.
fn value(claim: &Claim) -> &str {
    match (claim.kind, claim.value.as_str()) {
        (ClaimKind::Encryption, value) => value,
        (ClaimKind::Policy, value @ ("default" | "always" | "never")) => value,
        (ClaimKind::Policy, _) => "default",
        _ if claim.affirms() => "true",
        _ => "false",
    }
}

fn version(version: &str) -> &str {
    if version.is_empty() {
        "(unknown version)"
    } else {
        version
    }
}

/// A text as YAML reads it back, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn line(out: &mut String, text: Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, schema},
        session::run_plan::suites,
    };
    use meshproof_contract::{ClaimSource, Thresholds};
    use std::{path::Path, time::Duration};

    fn found(claims: &[(&str, ClaimKind, &str)]) -> Discovery {
        let cluster = |name: &str, context: &str| ClusterFacts {
            name: name.into(),
            context: context.to_owned(),
            version: "v1.36.0".to_owned(),
            nodes: Vec::new(),
            dns: None,
            cilium: None,
        };
        let claim = |(cluster, kind, value): &(&str, ClaimKind, &str)| Claim {
            cluster: (*cluster).into(),
            kind: *kind,
            value: (*value).to_owned(),
            source: ClaimSource::Live {
                object: "ConfigMap kube-system/cilium-config:\nenable-wireguard".to_owned(),
            },
        };
        let mut discovery = Discovery::default();
        discovery.clusters = vec![cluster("infra", "admin@infra: it's"), cluster("apps", "apps")];
        discovery.claims = claims.iter().map(claim).collect();
        discovery
    }

    #[test]
    fn what_is_written_is_read_again_with_the_same_claims() {
        let found = found(&[
            ("infra", ClaimKind::ClusterMesh, "apps,edge"),
            ("infra", ClaimKind::Encryption, "wireguard"),
            ("infra", ClaimKind::L7Policy, "embedded"),
            ("infra", ClaimKind::KubeProxyReplacement, "strict"),
            ("apps", ClaimKind::Encryption, "none"),
            ("apps", ClaimKind::Policy, "always"),
        ]);
        let text = text(&found, &[]);
        let config =
            Config::parse(&text, Path::new("meshproof.yaml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(config.contexts["infra"], "admin@infra: it's");
        config.required.verify(&suites()).expect("suites that exist");
        let shown = |cluster: &str| {
            let claims = config.claims.of_cluster(&cluster.into()).expect("named");
            claims
                .iter()
                .map(|c| format!("{}: {}", c.kind, c.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shown("infra"),
            [
                "cluster-mesh: true",
                "encryption: wireguard",
                "l7-policy: true",
                "kube-proxy-replacement: true"
            ]
        );
        assert_eq!(shown("apps"), ["encryption: none", "policy: always"]);
    }

    #[test]
    fn all_thresholds_of_the_target_are_stated() {
        let mut found = found(&[]);
        for recovery in [60, 12] {
            found.thresholds.recovery = Duration::from_secs(recovery);
            let config = Config::parse(&text(&found, &[]), Path::new("meshproof.yaml")).expect("valid");
            let other = Thresholds {
                recovery: Duration::from_secs(1),
                dns_latency: Duration::from_secs(1),
                ..Thresholds::default()
            };
            assert_eq!(config.thresholds.over(other), found.thresholds);
        }
    }

    #[test]
    fn what_is_written_satisfies_the_schema() {
        let text = text(&found(&[("infra", ClaimKind::Encryption, "ipsec")]), &[]);
        let value: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        let validator = jsonschema::validator_for(&schema::schema()).expect("a valid schema");
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{text}");
        let mut wrong = value;
        wrong["claims"]["infra"]["encryption"] = "rot13".into();
        assert!(
            !validator.is_valid(&wrong),
            "the schema must reject what the reader does"
        );
    }
}
