//! The operators' repository: as they wrote it, every mistake of its README is found and nothing else; mended, it is
//! silent.

use crate::repository::found;
use meshproof_claims::{Report, Request, Severity, check, layout::Origin, render};
use std::path::PathBuf;

fn house(name: &str) -> Report {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/gitops-example")
        .join(name);
    let values = Vec::new();
    check(&Request { root, values }).expect("a readable folder")
}

#[test]
fn every_mistake_of_the_readme_is_found_and_nothing_else() {
    let values = ["apps", "infra"].map(|cluster| format!("bootstrap/clusters/{cluster}/cilium-values.yaml"));
    let mut expected = Vec::new();
    for file in values {
        expected.extend([
            format!("{file}:12 native-routing-range"),
            format!("{file}:28 dsr-with-wireguard"),
            format!("{file}:33 nothing-announced"),
            format!("{file}:44 strict-mode-range"),
            format!("{file}:60 unknown-key"),
            format!("{file}:78 mesh-without-members"),
            format!("{file}:94 hubble-exporter-config-map"),
            format!("{file}:96 hubble-exporter"),
        ]);
    }
    let others = [
        "infrastructure/cilium/helmrelease-infra.yaml:1 helm-release-missing",
        "infrastructure/cilium/helmrelease-infra.yaml:14 values-from-missing",
        "infrastructure/cilium/l7-visibility.yaml:7 default-deny-closes-dns-server",
        "infrastructure/cilium/lb-pool.yaml:1 cilium-api-deprecated",
        "infrastructure/cilium/ocirepository.yaml:1 flux-api-deprecated",
        "infrastructure/cilium/ocirepository.yaml:10 version-pins-differ",
        "infrastructure/databases/services-infra.yaml:1 global-service-alone",
        "infrastructure/databases/services-infra.yaml:7 legacy-annotation",
        "infrastructure/databases/services-infra.yaml:16 global-service-alone",
        "infrastructure/databases/services-infra.yaml:22 legacy-annotation",
        "infrastructure/databases/services-infra.yaml:30 global-service-alone",
        "infrastructure/network-policies/allow-cross-cluster-db.yaml:12 policy-own-namespace",
        "infrastructure/network-policies/allow-cross-cluster-db.yaml:18 l7-parser-unknown",
        "infrastructure/network-policies/default-deny.yaml:9 default-deny-admits-all",
        "workloads/gitlab/namespace.yaml:6 policy-enforcement-label",
        "workloads/gitlab/policy.yaml:10 default-deny-closes-dns",
        "workloads/gitlab/policy.yaml:13 policy-selects-nothing",
        "workloads/gitlab/policy.yaml:24 policy-invalid",
    ];
    expected.extend(others.map(|other| format!("kubernetes/{other}")));
    assert_eq!(found(&house("as-written")), expected);
}

#[test]
fn errors_and_warnings_are_those_of_the_readme() {
    let report = house("as-written");
    let warnings: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warning)
        .collect();
    let mut rules: Vec<_> = warnings.iter().map(|finding| finding.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let expected = [
        "cilium-api-deprecated",
        "default-deny-admits-all",
        "flux-api-deprecated",
        "helm-release-missing",
        "hubble-exporter-config-map",
        "legacy-annotation",
        "nothing-announced",
        "policy-enforcement-label",
        "unknown-key",
    ];
    assert_eq!(rules, expected);
}

#[test]
fn the_mended_repository_is_silent_and_every_value_of_it_is_a_claim() {
    let report = house("clean");
    assert_eq!(found(&report), Vec::<String>::new());
    assert!(
        report.notes().is_empty() && report.assumptions.is_empty(),
        "{:?}",
        report.notes()
    );
    assert!(
        report.claims.iter().all(|claim| claim.shown.is_some()),
        "every value of the example is in the table"
    );
    let of_infra: Vec<_> = report
        .mapping
        .iter()
        .filter(|mapping| mapping.cluster == "infra")
        .collect();
    assert_eq!(of_infra.len(), 2);
    assert_eq!((of_infra[1].origin, of_infra[1].files.len()), (Origin::HelmRelease, 2));
}

#[test]
fn the_text_names_file_and_line_and_counts() {
    let text = render::text(&house("as-written"));
    let line = "bootstrap/clusters/infra/cilium-values.yaml:44  error: encryption.strictMode.cidr 10.244.0.0/16 does \
    not \
                cover apps' pods (10.246.0.0/16): what goes there is not held back [strict-mode-range]";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("21 errors, 13 warnings, 110 claims"), "{text}");
}
