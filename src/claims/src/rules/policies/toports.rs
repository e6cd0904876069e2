//! Ports of a rule and what is allowed on them by L7 protocols.

use super::{Judge, UNKNOWN_PARSER};
use crate::{policy::Direction, yaml::Node};

/// Parsers of Envoy's proxylib (A28).
const PARSERS: &[&str] = &["cassandra", "kafka", "memcached", "r2d2"];
/// Protocols of the CRD.
const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP", "ANY"];
const MOST_PORTS: usize = 40;

pub(super) fn check(judge: &mut Judge<'_, '_>, direction: Direction, rule: &Node) {
    let Some(list) = rule.entry("toPorts") else { return };
    if rule.get("icmps").is_some_and(|icmps| !icmps.items().is_empty()) && !list.node.items().is_empty() {
        judge.invalid(list.place, "toPorts and icmps stand in one rule");
    }
    for item in list.node.items() {
        let ports = item.items_at(&["ports"]);
        if ports.is_empty() && item.get("ports").is_some() {
            judge.ignored(item.place, "ports is empty: the rule allows nothing");
        }
        if ports.len() > MOST_PORTS {
            judge.invalid(item.place, format!("more than {MOST_PORTS} ports"));
        }
        for port in ports {
            port_of(judge, port);
        }
        if let Some(rules) = item.get("rules") {
            l7(judge, direction, item, rules, ports);
        }
    }
}

fn port_of(judge: &mut Judge<'_, '_>, port: &Node) {
    let protocol = port.get("protocol");
    if let Some(protocol) = protocol.filter(|protocol| !protocol.is_opaque()) {
        let name = protocol.scalar().unwrap_or_default();
        if !PROTOCOLS.contains(&name.as_str()) {
            judge.invalid(
                protocol.place,
                format!("protocol {name}: there are {}", PROTOCOLS.join(", ")),
            );
        }
    }
    let Some(number) = port.get("port") else {
        judge.invalid(port.place, "a port without its number");
        return;
    };
    if number.is_opaque() {
        return;
    }
    let Some(text) = number.text() else {
        judge.invalid(number.place, "port is not text: write it in quotes");
        return;
    };
    let is_name = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_name && text.len() > 15 {
        judge.invalid(
            number.place,
            format!("the name of port {text} is longer than 15 characters"),
        );
    } else if !is_name && text.parse::<u16>().is_err() {
        judge.invalid(number.place, format!("port {text} is not between 0 and 65535"));
    }
    let end = port
        .get("endPort")
        .and_then(Node::scalar)
        .and_then(|end| end.parse::<u32>().ok());
    if let (Some(end), Ok(from)) = (end, text.parse::<u32>()) {
        if end > 65535 {
            judge.invalid(port.place, format!("endPort {end} is not between 0 and 65535"));
        } else if end < from {
            judge.ignored(
                port.place,
                format!("endPort {end} is below port {from}: only port {from} counts"),
            );
        }
    }
}

fn l7(judge: &mut Judge<'_, '_>, direction: Direction, item: &Node, rules: &Node, ports: &[Node]) {
    let protocols = ["http", "kafka", "dns", "l7proto"];
    let given: Vec<_> = protocols.into_iter().filter(|key| rules.get(key).is_some()).collect();
    let [protocol] = given.as_slice() else {
        judge.invalid(item.place, "rules needs exactly one of http, kafka, dns and l7proto");
        return;
    };
    if judge.context.is_off(judge.spec.document.file(), "l7Proxy") {
        judge.invalid(rules.place, "L7 rules with l7Proxy off");
    }
    if judge.spec.is_for_nodes {
        judge.invalid(rules.place, "L7 rules for nodes");
    }
    let list = rules.items_at(&[protocol]);
    let is_list = rules
        .get(protocol)
        .is_some_and(|rules| matches!(rules.value, crate::yaml::Value::List(_)));
    if is_list && list.is_empty() {
        judge.ignored(
            rules.place,
            format!("{protocol} is empty: every request is allowed, and no proxy sees it"),
        );
        return;
    }
    on_ports(judge, protocol, ports);
    match *protocol {
        "dns" => dns(judge, direction, list, rules),
        "http" => list.iter().for_each(|rule| http(judge, rule)),
        "l7proto" => parser(judge, rules),
        _ => {}
    }
}

/// The ports on which L7 rules can stand (A22).
fn on_ports(judge: &mut Judge<'_, '_>, protocol: &str, ports: &[Node]) {
    for port in ports {
        let stated = port
            .get("protocol")
            .and_then(Node::scalar)
            .unwrap_or_else(|| "ANY".to_owned());
        let number = port.get("port").and_then(Node::scalar).unwrap_or_default();
        if protocol != "dns" && stated != "TCP" {
            let stated = port
                .get("protocol")
                .map_or("no protocol".to_owned(), |_| format!("protocol {stated}"));
            judge.invalid(
                port.place,
                format!("{protocol} rules on port {number} with {stated}: they need TCP"),
            );
        }
        if number == "0" {
            judge.invalid(port.place, format!("{protocol} rules on port 0"));
        }
        if protocol == "dns" && port.get("endPort").is_some() {
            judge.invalid(port.place, "dns rules on a range of ports");
        }
    }
    if protocol == "dns" && ports.is_empty() {
        judge.invalid(judge.spec.node.place, "dns rules without a port");
    }
}

fn dns(judge: &mut Judge<'_, '_>, direction: Direction, list: &[Node], rules: &Node) {
    if direction == Direction::Ingress {
        judge.invalid(rules.place, "dns rules on ingress");
    }
    for rule in list {
        let given = ["matchName", "matchPattern"]
            .into_iter()
            .filter(|key| rule.get(key).is_some())
            .count();
        if given != 1 {
            judge.invalid(rule.place, "a dns rule needs one of matchName and matchPattern");
        }
    }
}

/// Headers are split at the first space (A26).
fn http(judge: &mut Judge<'_, '_>, rule: &Node) {
    for header in rule.items_at(&["headers"]) {
        let text = header.text().unwrap_or_default();
        if !text.contains(' ') && text.trim_end_matches(':').contains(':') {
            let what = "a header without a space after its colon never matches: write \"Name: value\"";
            judge.ignored(header.place, what);
        }
    }
}

fn parser(judge: &mut Judge<'_, '_>, rules: &Node) {
    let Some(proto) = rules.entry("l7proto") else { return };
    let name = proto.node.scalar().unwrap_or_default();
    if rules.get("l7").is_none() {
        judge.ignored(
            proto.place,
            format!("l7proto {name} without l7 rules: everything passes"),
        );
    } else if !PARSERS.contains(&name.as_str()) {
        let what = format!("l7proto {name}: Cilium has no such parser, and resets every connection");
        judge.out.add(&UNKNOWN_PARSER, proto.place, what);
    }
}
