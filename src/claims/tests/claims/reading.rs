//! What files look like in life.

use crate::repository::{Repository, found, processor_seconds};
use meshproof_claims::layout::Origin;

const VALUES: &str = "clusters/infra/cilium-values.yaml";

#[test]
fn a_malformed_file_is_named_with_its_position_and_the_others_are_checked() {
    let repository = Repository::with(&[
        (VALUES, "kubeProxyReplacment: true\ncluster: {name: infra}\n"),
        ("bad.yaml", "kind: Service\nmetadata:\n  name: a\n bad: [\n"),
        (
            "good.yaml",
            "kind: Namespace\nmetadata: {labels: {cilium.io/policy-enforcement: x}}\n",
        ),
    ]);
    let report = repository.check();
    let bad = report
        .findings
        .iter()
        .find(|finding| finding.rule == "malformed")
        .expect("found");
    assert_eq!((report.path(bad.place.file), bad.place.line >= 3), ("bad.yaml", true));
    assert!(bad.what.contains("column"), "{}", bad.what);
    let rules: Vec<_> = report.findings.iter().map(|finding| finding.rule.as_str()).collect();
    assert!(
        rules.contains(&"unknown-key") && rules.contains(&"policy-enforcement-label"),
        "{rules:?}"
    );
}

#[test]
fn one_malformed_document_does_not_hide_the_next_one() {
    let text = "kind: Service\n bad: [\n---\nkind: Namespace\nmetadata: {labels: {cilium.io/policy-enforcement: x}}\n";
    let repository = Repository::with(&[("a.yaml", text)]);
    assert!(found(&repository.check()).contains(&"a.yaml:5 policy-enforcement-label".to_owned()));
}

#[test]
fn byte_order_marks_carriage_returns_and_anchors_change_nothing() {
    let text = "\u{feff}cluster: {name: infra}\r\nx-common: &on\r\n  enabled: true\r\nhubble:\r\n  relay: *on\r\n  \
                wrong: 1\r\n";
    let repository = Repository::with(&[(VALUES, text)]);
    let report = repository.check();
    assert_eq!(found(&report), [format!("{VALUES}:6 unknown-key")]);
    let relay = report
        .claims
        .iter()
        .find(|claim| claim.value == "hubble.relay.enabled")
        .expect("claimed");
    assert_eq!(
        (relay.place.line, relay.shown.as_deref()),
        (3, Some("true")),
        "where the anchor stands"
    );
}

#[test]
fn what_is_encrypted_or_filled_in_is_neither_judged_nor_shown() {
    let text = "cluster: {name: infra, id: \"${ID}\"}\nencryption:\n  enabled: ENC[AES256_GCM,data:x,type:bool]\n  \
                nodeEncryption: true\nsops: {mac: x}\n";
    let repository = Repository::with(&[(VALUES, text)]);
    let report = repository.check();
    assert_eq!(
        found(&report),
        Vec::<String>::new(),
        "whether encryption is on cannot be known"
    );
    let claim = report
        .claims
        .iter()
        .find(|claim| claim.value == "encryption.enabled")
        .expect("claimed");
    assert!(
        !claim.shown.as_deref().expect("in the table").contains("AES"),
        "{claim:?}"
    );
}

#[test]
fn files_that_cannot_be_read_are_notes_and_no_mistakes() {
    let repository = Repository::new();
    repository.write("latin.yaml", b"kind: Service\nname: \xe9\n");
    repository.write("chart/Chart.yaml", "name: mine\n");
    repository.write(
        "chart/templates/svc.yaml",
        "kind: Service\n{{- if .x }}\n  a: [\n{{- end }}\n",
    );
    repository.write(
        "loose.yaml",
        "kind: Service\nspec:\n{{- range .x }}\n  - {{ . }}: [\n{{- end }}\n",
    );
    let report = repository.check();
    assert_eq!(found(&report), Vec::<String>::new());
    let notes: Vec<_> = report
        .notes()
        .iter()
        .map(|note| (report.path(note.file), note.what.as_str()))
        .collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes
            .iter()
            .any(|(path, what)| *path == "latin.yaml" && what.contains("UTF-8")),
        "{notes:?}"
    );
    assert!(
        notes
            .iter()
            .any(|(path, what)| *path == "loose.yaml" && what.contains("template")),
        "{notes:?}"
    );
}

#[test]
fn several_files_are_merged_in_the_order_of_the_helmfile() {
    let helmfile = "releases:\n{{ range .clusters }}\n  - name: cilium\n    chart: oci://r.example/charts/cilium\n    \
                    version: {{ .Values.version }}\n    values:\n      - base.yaml\n      - \
                    clusters/{{ .Environment.Name }}/cilium-values.yaml\n      - {l7Proxy: true}\n{{ end }}\n";
    let repository = Repository::with(&[
        ("helmfile.yaml.gotmpl", helmfile),
        (
            "base.yaml",
            "l7Proxy: false\nhubble: {enabled: false, relay: {enabled: false}}\n",
        ),
        (VALUES, "cluster: {name: infra}\nhubble: {enabled: true}\n"),
        ("clusters/apps/cilium-values.yaml", "cluster: {name: apps}\n"),
    ]);
    let report = repository.check();
    assert_eq!(found(&report), Vec::<String>::new(), "{:?}", report.findings);
    let claimed = |cluster: &str, value: &str| {
        let claim = report
            .claims
            .iter()
            .find(|claim| claim.cluster == cluster && claim.value == value);
        claim.map(|claim| {
            (
                report.path(claim.place.file),
                claim.shown.clone().expect("in the table"),
            )
        })
    };
    assert_eq!(claimed("infra", "hubble.enabled"), Some((VALUES, "true".to_owned())));
    assert_eq!(
        claimed("apps", "hubble.enabled"),
        Some(("base.yaml", "false".to_owned()))
    );
    assert_eq!(
        claimed("infra", "l7Proxy"),
        Some(("helmfile.yaml.gotmpl", "true".to_owned()))
    );
}

#[test]
fn files_that_the_user_names_replace_what_was_found() {
    let repository = Repository::with(&[
        ("one.yaml", "cluster: {name: infra}\nl7Proxy: false\n"),
        ("two.yaml", "l7Proxy: true\n"),
        (VALUES, "cluster: {name: infra}\nwrong: 1\n"),
    ]);
    let report = repository.check_with(&[("infra", "one.yaml"), ("infra", "two.yaml")]);
    assert_eq!(found(&report), Vec::<String>::new());
    assert_eq!(report.mapping.len(), 1);
    assert_eq!(
        (report.mapping[0].origin, report.mapping[0].files.len()),
        (Origin::Named, 2)
    );
}

#[test]
fn a_config_map_in_the_repository_and_an_application_give_values_too() {
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: cilium}\nspec:\n  chart: \
                   {spec: {chart: cilium, version: 1.18.3}}\n  valuesFrom: [{kind: ConfigMap, name: values}]\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: values}\ndata:\n  values.yaml: |\n    cluster: {name: \
               infra}\n    wrong: 1\n";
    let application = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: cilium}\nspec:\n  \
                       destination: {name: apps}\n  source:\n    chart: cilium\n    targetRevision: 1.18.3\n    \
                       helm:\n      \
                       values: |\n        alsoWrong: 1\n      valuesObject: {kubeProxyReplacment: true}\n      \
                       parameters: \
                       [{name: l7Proxy, value: \"true\"}]\n";
    let repository = Repository::with(&[
        ("clusters/infra/release.yaml", release),
        ("clusters/infra/map.yaml", map),
        (VALUES, "cluster: {name: infra}\n"),
        ("argo.yaml", application),
    ]);
    let report = repository.check();
    let expected = [
        "argo.yaml:11 unknown-key",
        "argo.yaml:12 unknown-key",
        "clusters/infra/map.yaml:7 unknown-key",
    ];
    assert_eq!(found(&report), expected);
    assert!(
        report
            .claims
            .iter()
            .any(|claim| claim.cluster == "apps" && claim.value == "l7Proxy")
    );
}

#[test]
fn ten_megabytes_are_read_in_time() {
    let mut text = String::from("cluster: {name: infra}\npodAnnotations:\n");
    while text.len() < 10_000_000 {
        text.push_str(&format!(
            "  example.com/key-{}: some text that is of no interest\n",
            text.len()
        ));
    }
    let repository = Repository::with(&[(VALUES, &text)]);
    let before = processor_seconds();
    assert_eq!(found(&repository.check()), Vec::<String>::new());
    let spent = processor_seconds() - before;
    assert!(spent < 30.0, "{spent} s of processor");
}

#[test]
fn patches_of_kustomize_are_no_objects() {
    let patch = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec: {description: x}\n";
    let repository = Repository::with(&[
        (
            "a/kustomization.yaml",
            "kind: Component\npatches: [{path: patch.yaml}]\n",
        ),
        ("a/patch.yaml", patch),
        ("b/policy.yaml", patch),
    ]);
    let report = repository.check();
    assert!(
        found(&report).iter().all(|found| found.starts_with("b/policy.yaml")),
        "{:?}",
        found(&report)
    );
    assert!(!report.findings.is_empty());
    assert!(
        report
            .notes()
            .iter()
            .any(|note| report.path(note.file) == "a/patch.yaml")
    );
}

#[test]
fn what_a_kustomization_reaches_belongs_to_its_cluster() {
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: data\n  annotations: \
             {{service.cilium.io/global: \"true\"}}\nspec: {{ports: [{{port: 80}}]}}\n"
        )
    };
    let flux = |path: &str| {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: a}}\nspec: {{path: \
            ./{path}}}\n"
        )
    };
    let repository = Repository::with(&[
        (VALUES, "cluster: {name: infra}\n"),
        ("clusters/apps/cilium-values.yaml", "cluster: {name: apps}\n"),
        ("clusters/infra/flux.yaml", &flux("base/one")),
        ("clusters/apps/kustomization.yaml", "resources: [../../base/two]\n"),
        ("base/one/service.yaml", &service("one")),
        ("base/two/kustomization.yaml", "resources: [service.yaml]\n"),
        ("base/two/service.yaml", &service("two")),
        ("base/both.yaml", &service("both")),
    ]);
    let report = repository.check();
    let expected = [
        "base/one/service.yaml:1 global-service-alone",
        "base/two/service.yaml:1 global-service-alone",
    ];
    assert_eq!(found(&report), expected);
    assert!(
        report.findings[0].what.contains("no namesake in apps"),
        "{:?}",
        report.findings[0]
    );
    assert!(
        report.findings[1].what.contains("no namesake in infra"),
        "{:?}",
        report.findings[1]
    );
}

#[test]
fn keys_of_another_chart_are_not_judged_by_this_one() {
    let helmfile = "releases: [{name: cilium, chart: cilium/cilium, version: 1.16.5, values: \
                    [\"clusters/{{ .Environment.Name }}/cilium-values.yaml\"]}]\n";
    let repository = Repository::with(&[
        (VALUES, "cluster: {name: infra}\nold: 1\n"),
        ("helmfile.yaml", helmfile),
    ]);
    let report = repository.check();
    assert_eq!(found(&report), Vec::<String>::new());
    assert!(
        report.assumptions[0].contains("keys are not checked"),
        "{:?}",
        report.assumptions
    );
}

#[test]
fn a_policy_for_dns_servers_of_other_labels_counts() {
    let policy = |text: &str| format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n{text}");
    let repository = Repository::with(&[
        (
            "all.yaml",
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: deny}\nspec: \
             {endpointSelector: {}, ingress: [{}]}\n",
        ),
        (
            "dns.yaml",
            &policy(
                "metadata: {name: dns, namespace: kube-system}\nspec:\n  endpointSelector: {matchLabels: {app: \
                 coredns}}\n  \
                 ingress:\n    - fromEntities: [cluster]\n      toPorts: [{ports: [{port: \"53\", protocol: UDP}]}]\n",
            ),
        ),
        (
            "client.yaml",
            &policy(
                "metadata: {name: web, namespace: web}\nspec:\n  endpointSelector: {}\n  egress:\n    - toEndpoints: \
                 [{matchLabels: {k8s:io.kubernetes.pod.namespace: dns, app: coredns}}]\n      toPorts: [{ports: \
                 [{port: \
                 \"53\"}]}]\n    - toEntities: [world]\n      toPorts: [{ports: [{port: \"443\"}]}]\n",
            ),
        ),
    ]);
    assert_eq!(found(&repository.check()), Vec::<String>::new());
}
