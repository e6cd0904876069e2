//! `meshproof init`: a commented `meshproof.yaml` from what the clusters show. Reads the clusters, changes nothing in them.

use crate::{
    args::InitArgs,
    config::{Config, DEFAULT_FILE, schema},
    fatal::Fatal,
    session::{
        lab::{Lab, LabNodes},
        place::Place,
    },
};
use anyhow::{Context, anyhow};
use meshproof_cluster::{Contexts, Discovery, Progress, discover};
use meshproof_contract::{Claim, ClaimKind, ClusterFacts, Event, Exit, Thresholds, thresholds::write_duration};
use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Carries out `meshproof init`.
pub fn init(args: &InitArgs) -> Result<Exit, Fatal> {
    if args.schema {
        let _ = io::stdout().write_all(schema::text().as_bytes());
        return Ok(Exit::Passed);
    }
    let path = args.output.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    // Told before the clusters are asked.
    if path.exists() && !args.force {
        return Err(Fatal::usage(anyhow!(
            "{} is there already; --force replaces it",
            path.display()
        )));
    }
    let found = super::runtime()?.block_on(find(args))?;
    let text = text(&found);
    Config::parse(&text, path)
        .context("what was to be written is not valid")
        .map_err(Fatal::environment)?;
    let written = match args.force {
        true => fs::write(path, &text),
        false => fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes())),
    };
    written
        .with_context(|| format!("failed to write {}", path.display()))
        .map_err(Fatal::usage)?;
    println!("{}", path.display());
    Ok(Exit::Passed)
}

async fn find(args: &InitArgs) -> Result<Discovery, Fatal> {
    if args.lab {
        let lab = Lab::start(LabNodes::default(), &[]).await?;
        let found = ask(&lab.place()).await;
        lab.stop().await;
        return found;
    }
    // A file that is being replaced must not decide what it is replaced with.
    let config = match &args.target.config {
        Some(path) => Config::read(Some(path)).map_err(Fatal::usage)?,
        None => Config::default(),
    };
    ask(&Place::of(&args.target, &config, None, None)?).await
}

async fn ask(place: &Place) -> Result<Discovery, Fatal> {
    let progress = Progress::new(|event| {
        if let Event::Warning { message } = event {
            eprintln!("meshproof: {message}");
        }
    });
    let contexts = Contexts::connect(&place.roles, place.kubeconfig.clone(), &progress).await;
    let contexts = contexts.map_err(|error| match error.is_configuration() {
        true => Fatal::usage(error),
        false => Fatal::environment(error),
    })?;
    discover(&contexts, &progress).await.map_err(Fatal::environment)
}

/// The file.
fn text(found: &Discovery) -> String {
    let mut out = String::from(
        "# What meshproof is to verify. Made by `meshproof init` from what the clusters showed: read it, and correct what is not meant to be so,\n\
         # since from now on these are your claims. docs/configuration.md tells every key; the command line wins over this file.\n\n\
         # Role name to kubeconfig context.\ncontexts:\n",
    );
    for cluster in &found.clusters {
        line(
            &mut out,
            format_args!("  {}: {}", cluster.name, quoted(&cluster.context)),
        );
    }
    out.push_str("\n# What is claimed and absent is a failure; what is not claimed is skipped.\nclaims:\n");
    for cluster in &found.clusters {
        claims(&mut out, cluster, &found.claims);
    }
    let thresholds = Thresholds::default();
    out.push_str("\n# The service levels that are promised; these are the defaults.\nthresholds:\n");
    let levels = [
        (
            "recovery",
            thresholds.recovery,
            "longest outage of a stream after a failure",
        ),
        (
            "failBack",
            thresholds.fail_back,
            "until local backends that are back answer again",
        ),
        (
            "propagation",
            thresholds.propagation,
            "until a change in one cluster is felt in another",
        ),
        (
            "policyEnforcement",
            thresholds.policy_enforcement,
            "until every node acts on a changed policy",
        ),
        (
            "endpointRemoval",
            thresholds.endpoint_removal,
            "until nothing new reaches an endpoint that is not ready",
        ),
        (
            "localLatency",
            thresholds.local_latency,
            "99th percentile within a cluster",
        ),
        (
            "crossClusterLatency",
            thresholds.cross_cluster_latency,
            "99th percentile between clusters",
        ),
        (
            "crossClusterOverhead",
            thresholds.cross_cluster_overhead,
            "median between clusters over the median within one",
        ),
        ("dnsLatency", thresholds.dns_latency, "99th percentile of cluster DNS"),
    ];
    line(
        &mut out,
        format_args!(
            "  {:<30} # least share of requests that succeed",
            format!("availability: {}", thresholds.availability)
        ),
    );
    for (key, value, about) in levels {
        line(
            &mut out,
            format_args!("  {:<30} # {about}", format!("{key}: {}", write_duration(value))),
        );
    }
    out.push_str(
        "\n# The least that must have run, or the run ends with exit code 4. A check that was skipped has not run.\nrequired:\n  suites: [connectivity, dns]\n  \
         # checks: [mesh::agents_ready]\n\n\
         # Whether checks may disturb the clusters (as --disruptive): delete Cilium's agents, take nodes away, stop the clustermesh-apiserver.\n\
         disruptive: false\n# How a node is really cut off; without it a lost node is imitated.\n# nodePower:\n#   cut: [talosctl, --context, '{context}', -n, '{node}', shutdown]\n\
         #   restore: [./power-on, '{node}']\n\n\
         # image: registry.example/meshproof:1   # the probe image that the nodes have\n# pullPolicy: IfNotPresent\n# readyTimeout: 5m                      # for all probe agents; without it, as long as they come one after another\n\
         # timeout: 180s                         # of one trial\n# jobs: 6\n# reportDir: reports\n",
    );
    out
}

fn claims(out: &mut String, cluster: &ClusterFacts, all: &[Claim]) {
    match &cluster.cilium {
        Some(cilium) => line(
            out,
            format_args!("  # Cilium {}, Kubernetes {}", told(&cilium.version), cluster.version),
        ),
        None => line(
            out,
            format_args!("  # No Cilium was found; Kubernetes {}", cluster.version),
        ),
    }
    line(out, format_args!("  {}:", cluster.name));
    let found = |kind| all.iter().find(|c| c.cluster == cluster.name && c.kind == kind);
    for (kind, absent) in [
        (ClaimKind::ClusterMesh, "false"),
        (ClaimKind::Encryption, "none"),
        (ClaimKind::StrictEncryption, "false"),
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
            // Not seen is no claim that it is not there: left out, with the word for it.
            None => {
                let stated = format!("# {kind}: {absent}");
                line(out, format_args!("    {stated:<34} # nothing shows that it is there"));
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

fn told(version: &str) -> &str {
    if version.is_empty() {
        "of unknown version"
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

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::ClaimSource;

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
        let text = text(&found);
        let config =
            Config::parse(&text, Path::new("meshproof.yaml")).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(config.contexts["infra"], "admin@infra: it's");
        assert_eq!(config.thresholds, Thresholds::default());
        config
            .required
            .verify(&crate::command::suites())
            .expect("suites that exist");
        let told = |cluster: &str| {
            let claims = config.claims.of_cluster(&cluster.into()).expect("named");
            claims
                .iter()
                .map(|c| format!("{}: {}", c.kind, c.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told("infra"),
            [
                "cluster-mesh: true",
                "encryption: wireguard",
                "l7-policy: true",
                "kube-proxy-replacement: true"
            ]
        );
        assert_eq!(told("apps"), ["encryption: none", "policy: always"]);
    }

    #[test]
    fn what_is_written_satisfies_the_schema() {
        let text = text(&found(&[("infra", ClaimKind::Encryption, "ipsec")]));
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
