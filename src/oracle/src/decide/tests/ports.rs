//! Ports, protocols, requests and authentication.

use super::*;

#[test]
fn ports_ranges_names_and_protocols() {
    let on = |port: Value| json!([{"toPorts": [{"ports": [port]}]}]);
    let check = |port: Value, number: u16| expected(echo(on(port)), &tcp(pod("client"), pod("echo"), number));
    assert_eq!(check(json!({"port": "8000", "endPort": 8100}), 8080), Expected::Allowed);
    assert_eq!(check(json!({"port": "8000", "endPort": 8100}), 8101), Expected::Dropped);
    assert_eq!(check(json!({"port": "web"}), 8080), Expected::Allowed);
    assert_eq!(check(json!({"port": "web"}), 8081), Expected::Dropped);
    assert_eq!(
        check(json!({"port": "8080", "protocol": "UDP"}), 8080),
        Expected::Dropped
    );
    let ping = Flow {
        protocol: Protocol::Icmp,
        port: 8,
        ..tcp(pod("client"), pod("echo"), 0)
    };
    assert_eq!(
        expected(echo(on(json!({"port": "0", "protocol": "ANY"}))), &ping),
        Expected::Dropped
    );
    assert_eq!(
        expected(echo(json!([{"icmps": [{"fields": [{"type": 8}]}]}])), &ping),
        Expected::Allowed
    );
}

#[test]
fn http_rules_answer_403_and_are_alternatives() {
    let rules =
        |http: Value| json!([{"toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": http}}]}]);
    let request = |method: &str, path: &str| Flow {
        request: Request::Http(HttpRequest {
            method: method.into(),
            path: path.into(),
            host: "echo".into(),
            headers: vec![("x-token".into(), "yes".into())],
        }),
        ..tcp(pod("client"), pod("echo"), 8080)
    };
    let spec = echo(rules(
        json!([{"method": "GET", "path": "/public.*"}, {"path": "/secret", "headers": ["X-Token: yes"]}]),
    ));
    assert_eq!(expected(spec.clone(), &request("GET", "/public/a")), Expected::Allowed);
    assert_eq!(
        expected(spec.clone(), &request("POST", "/public/a")),
        Expected::Forbidden
    );
    assert_eq!(
        expected(spec.clone(), &request("GET", "/not/public")),
        Expected::Forbidden,
        "a path expression is anchored"
    );
    assert_eq!(expected(spec.clone(), &request("GET", "/secret")), Expected::Allowed);
    let open = cnp(echo(json!([{"toPorts": [{"ports": [{"port": "8080"}]}]}])));
    assert_eq!(
        expected_with(UP_TO_1_18, &[cnp(spec), open], &request("POST", "/x")),
        Expected::Allowed
    );
}

#[test]
fn names_are_allowed_by_fqdn_rules_and_refused_by_dns_rules() {
    let spec = json!({"endpointSelector": {"matchLabels": {"app": "fqdn"}}, "egress": [
        {"toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system"}}],
         "toPorts": [{
            "ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*.outside.example"}]},
         }]},
        {"toFQDNs": [{"matchName": "one.outside.example"}], "toPorts": [{"ports": [{"port": "80"}]}]}]});
    let query = |name: &str| Flow {
        protocol: Protocol::Udp,
        request: Request::Dns(name.into()),
        ..tcp(pod("fqdn"), pod_in("infra", "kube-system", "dns"), 53)
    };
    assert_eq!(expected(spec.clone(), &query("two.outside.example")), Expected::Allowed);
    assert_eq!(expected(spec.clone(), &query("other.example")), Expected::DnsRefused);
    let refusing = Semantics {
        dns_refusal: DnsRefusal::NameError,
        ..UP_TO_1_18
    };
    assert_eq!(
        expected_with(refusing, &[cnp(spec.clone())], &query("other.example")),
        Expected::DnsNameError
    );
    assert_eq!(
        expected(
            spec.clone(),
            &tcp(pod("fqdn"), world("198.51.100.10", "one.outside.example"), 80)
        ),
        Expected::Allowed
    );
    assert_eq!(
        expected(
            spec.clone(),
            &tcp(pod("fqdn"), world("198.51.100.11", "two.outside.example"), 80)
        ),
        Expected::Dropped
    );
    assert_eq!(
        expected(
            spec,
            &tcp(pod("fqdn"), world("198.51.100.10", "one.outside.example"), 8080)
        ),
        Expected::Dropped
    );
}

#[test]
fn authentication_modes() {
    let spec = |mode: &str| echo(json!([{"fromEndpoints": [{}], "authentication": {"mode": mode}}]));
    let flow = tcp(pod("client"), pod("echo"), 80);
    assert_eq!(expected(spec("required"), &flow), Expected::AllowedIfAuthenticated);
    assert_eq!(expected(spec("test-always-fail"), &flow), Expected::Dropped);
    assert_eq!(expected(spec("disabled"), &flow), Expected::Allowed);
}
