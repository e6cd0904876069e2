//! Reading `meshproof.yaml`: what is meant, and what is refused with its place.

use super::*;
use meshproof_contract::{ClaimKind, Percent, Thresholds};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("meshproof.yaml")).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = parse(text).expect_err(text);
    assert_eq!(error, expected, "in:\n{text}");
}

#[test]
fn a_full_file_is_read() {
    let config = parse(
        "contexts:\n  infra: a\n  apps: b\nclaims:\n  infra:\n    encryption: wireguard\n    policy: true\n    \
         l7-policy: false\n    cluster-mesh: true\n  apps:\nthresholds:\n  recovery: 30s\n  availability: \
         99.95%\noutside:\n- {name: git.example, port: 443}\nrequired:\n  suites: [dns]\n  checks:\n  - \
         mesh::agents_ready\n  trials: 12\ndisruptive: true\nnodePower:\n  cut: [ssh, '{node}', poweroff]\n  restore: \
         [wake, '{node}']\nimage: r.example/m:1\npullPolicy: Never\ntimeout: 2m\nreadyTimeout: 5m\nstreamSpacingMs: \
         20\njobs: 3\nreportDir: out\n",
    )
    .expect("valid");
    assert_eq!(config.contexts["apps"], "b");
    assert_eq!(config.pull_policy, Some(PullPolicy::Never));
    assert_eq!(config.timeout, Some(Duration::from_secs(120)));
    assert_eq!(config.ready_timeout, Some(Duration::from_secs(300)));
    assert_eq!((config.jobs, config.disruptive), (Some(3), true));
    assert_eq!(config.stream_spacing_ms, Some(20));
    assert_eq!(
        (config.outside[0].name.as_str(), config.outside[0].port),
        ("git.example", 443)
    );
    let base = Thresholds {
        recovery: Duration::from_secs(12),
        dns_latency: Duration::from_secs(7),
        ..Thresholds::default()
    };
    let thresholds = config.thresholds.over(base.clone());
    assert_eq!(thresholds.recovery, Duration::from_secs(30));
    assert_eq!(thresholds.availability, Percent::from_thousandths(99_950));
    assert_eq!(thresholds.dns_latency, base.dns_latency, "not stated");
    assert_eq!(config.node_power.expect("given").cut[1], "{node}");
    let claims = config.claims.of_cluster(&"infra".into()).expect("claims");
    let shown: Vec<_> = claims
        .iter()
        .map(|c| (c.kind, c.value.as_str(), c.source.to_string()))
        .collect();
    assert_eq!(
        shown,
        [
            (ClaimKind::ClusterMesh, "true", "meshproof.yaml:9".to_owned()),
            (ClaimKind::Encryption, "wireguard", "meshproof.yaml:6".to_owned()),
            (ClaimKind::Policy, "default", "meshproof.yaml:7".to_owned()),
            (ClaimKind::L7Policy, "false", "meshproof.yaml:8".to_owned()),
        ]
    );
    assert_eq!(
        config.claims.of_cluster(&"apps".into()),
        Some(&[][..]),
        "named without claims: claims nothing"
    );
    assert_eq!(config.claims.of_cluster(&"edge".into()), None);
}

#[test]
fn errors_name_file_line_and_column() {
    let broken = parse("image: x\njobs: [1\n").expect_err("malformed");
    assert!(broken.starts_with("meshproof.yaml:"), "{broken}");
    let kind = parse("jobs: many\n").expect_err("wrong type");
    assert!(kind.starts_with("meshproof.yaml:1:7: "), "{kind}");
    let dense = parse("image: a\nstreamSpacingMs: 0\n").expect_err("no spacing");
    assert!(
        dense.to_string().contains("2:18") && dense.to_string().contains("between 1 and 1000"),
        "{dense}"
    );
    let zero = parse("jobs: 0\n").expect_err("no jobs");
    assert!(zero.starts_with("meshproof.yaml:1:7: "), "{zero}");
    let time = parse("thresholds:\n  recovery: soon\n").expect_err("no duration");
    assert!(
        time.starts_with("meshproof.yaml:2:13: invalid duration \"soon\""),
        "{time}"
    );
    let twice = parse("image: x\nimage: y\n").expect_err("twice");
    assert!(twice.starts_with("meshproof.yaml:2:1: "), "{twice}");
}

#[test]
fn unknown_names_are_refused_with_what_was_meant() {
    refused(
        "image: x\nimgae: y\n",
        "meshproof.yaml:2:1: unknown key 'imgae'; did you mean image?",
    );
    refused(
        "claims:\n  infra:\n    encrypion: wireguard\n",
        "meshproof.yaml:3:5: unknown key 'encrypion'; did you mean encryption?",
    );
    refused(
        "claims:\n  infra:\n    encryption: wiregard\n",
        "meshproof.yaml:3:17: unknown value 'wiregard'; did you mean wireguard?",
    );
    refused(
        "claims:\n  infra:\n    policy: sometimes\n",
        "meshproof.yaml:3:5: unknown value 'sometimes'; expected one of: default, always, never",
    );
    refused(
        "thresholds:\n  recover: 1s\n",
        "meshproof.yaml:2:3: unknown key 'recover'; did you mean recovery?",
    );
    refused(
        "pullPolicy: never\n",
        "meshproof.yaml:1:13: unknown value 'never'; did you mean Never?",
    );
}

#[test]
fn claims_about_a_cluster_that_is_not_there_are_refused() {
    let config = parse("claims:\n  infra: {policy: true}\n  apsp: {policy: true}\n").expect("a file");
    let clusters = ["infra".into(), "apps".into()];
    let error = config.claims.verify(&clusters, std::iter::empty()).expect_err("apsp");
    assert_eq!(
        error.to_string(),
        "meshproof.yaml:3:3: claims for unknown cluster 'apsp'; did you mean apps?"
    );
    assert!(
        config.claims.verify(&clusters, ["apsp"].into_iter()).is_ok(),
        "a context of the file may be left out of a run"
    );
    refused(
        "claims:\n  infra: {policy: true}\n  infra: {policy: true}\n",
        "meshproof.yaml:3:3: duplicate key 'infra'",
    );
}

#[test]
fn an_empty_file_is_an_empty_configuration() {
    for text in ["", "\n", "# nothing yet\n", "claims:\n", "thresholds:\nrequired:\n"] {
        let empty = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(empty.thresholds, ThresholdOverrides::default(), "{text:?}");
        assert_eq!(Ok(empty), parse(""), "{text:?}");
    }
}
