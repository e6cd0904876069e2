//! Nothing that may be secret is printed: only leaves that the claim table knows are.

use crate::repository::Repository;
use meshproof_claims::render;

#[test]
fn planted_passwords_are_in_no_rendering() {
    let values = "cluster: {name: infra, id: 1}\npassword: hunter2-a\nextraEnv: [{name: TOKEN, value: hunter2-b}]\n\
                  tls: {ca: {cert: hunter2-c, key: hunter2-d}}\nencryption: {enabled: true, type: wireguard}\n\
                  clustermesh:\n  useAPIServer: true\n  config:\n    enabled: true\n    clusters: [{name: apps, tls: \
                  {key: hunter2-e}}]\nhubble: {relay: {tls: {server: {key: hunter2-f}}}, wrong: hunter2-g, enabled: \
                  \"hunter2-type\"}\nextraConfig: {secret: hunter2-h}\npodAnnotations: {token: hunter2-i}\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2-j}\n";
    let repository = Repository::with(&[
        ("clusters/infra/cilium-values.yaml", values),
        (
            "clusters/apps/cilium-values.yaml",
            "cluster: {name: apps, id: 2}\ntls: {ca: {cert: hunter2-k}}\nclustermesh: {useAPIServer: true}\n",
        ),
        ("secret.yaml", secret),
        (
            "map.yaml",
            "kind: ConfigMap\nmetadata: {name: m}\ndata: {password: hunter2-l}\n",
        ),
        ("bad.yaml", "kind: Service\npassword: hunter2-m\n bad: 'hunter2-n\n"),
    ]);
    let report = repository.check();
    assert!(
        report.findings.iter().any(|finding| finding.rule == "mesh-ca-differs"),
        "{:?}",
        report.findings
    );
    assert!(report.findings.iter().any(|finding| finding.rule == "malformed"));
    let renderings = [
        render::text(&report),
        render::json(&report),
        render::sarif(&report),
        render::github(&report),
    ];
    for text in renderings {
        // One stands in a leaf that the table knows, of the wrong type: what was written there is shown as the claim.
        let text = text.replace("hunter2-type", "");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("mesh-ca-differs"));
    }
}
