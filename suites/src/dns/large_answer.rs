//! Answers that do not fit into 512 bytes, and into one datagram at all, arrive complete.

use super::fresh;
use crate::kit::{
    dns::{
        ask::ask,
        question::{Expected, Question},
        zone::Zone,
    },
    needs, paths, probes, unique_name,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, Needs, RecordType, Scope, Tally, Transport, Verdict,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Answers of many records.
pub struct LargeAnswer;

/// The port of DNS.
const PORT: u16 = 53;
/// Addresses of the Service: 16 bytes each, so that no datagram of 1,232 bytes has room for them (RFC 1035 section
/// 4.1.4, DNS flag day 2020).
const ALL: u8 = 120;
/// Those of one host name: more than 512 bytes, the limit without EDNS, and less than 1,232.
const PART: u8 = 40;
/// The host name of these.
const PART_HOST: &str = "part";
/// The host name of one more, whose answer is small.
const ONE_HOST: &str = "one";

/// TEST-NET-1 (RFC 5737): nothing is ever sent to these, a Service without cluster IP has no frontend.
fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

fn host(number: u8) -> Option<&'static str> {
    match number {
        0 => Some(ONE_HOST),
        _ if number <= PART => Some(PART_HOST),
        _ => None,
    }
}

#[async_trait]
impl Check for LargeAnswer {
    fn id(&self) -> CheckId {
        CheckId::from("dns::large_answer")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Answers of more than 512 and more than 1,232 bytes reach pods and hosts complete",
            proves: "Names with many addresses resolve to all of them: EDNS lets datagrams of more than 512 bytes \
                     pass, and an answer that fits into none is marked as truncated and comes complete over TCP.",
            how: "A headless Service with a random name and an EndpointSlice of 120 addresses of TEST-NET-1 is \
                  created; 40 of them have one host name. Once every replica knows it, the client and the host-network \
                  agent on every node ask the cluster IP of DNS for both names over UDP (with EDNS of 1,232 bytes, and \
                  over TCP if the answer is truncated) and over TCP. Each answer must have exactly these addresses. \
                  After silence it asks six more times before that counts.",
            control: "A small answer of the same Service is known from every replica before large ones are judged.",
            when_red: "Silence over UDP only: large datagrams are lost on the way, see connectivity::path_mtu, or an \
                       EDNS limit of a proxy or firewall is in the way. Addresses missing: the server cuts answers \
                       off without the TC flag; try `dig +bufsize=1232 NAME` and `dig +tcp NAME` in a pod.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        needs::CHANGING
    }
    fn faults(&self) -> &'static [&'static str] {
        &["dns-large-answer-cut", "dns-large-datagram-lost"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let (Ok(verdict) | Err(verdict)) = observe(context).await;
        verdict
    }
}

async fn observe(context: &CheckContext) -> Result<Verdict, Verdict> {
    let mut zone = Zone::of(context)?;
    let facts = zone.facts.clone();
    zone.askers
        .extend(paths::agents(&facts, context.instance.from(), "node"));
    let namespace = zone.service(context, "server")?.namespace;
    let name = unique_name::label("large");
    let created = fresh::create(context, service(&namespace, &name)).await?;
    let verdict = async {
        fresh::create(context, slice(&namespace, &name, &created)).await?;
        let absolute = zone.absolute(&namespace, &name);
        fresh::known(context, &zone, &format!("{ONE_HOST}.{absolute}")).await?;
        let mut tally = Tally::new();
        ask(context, &zone, &questions(&zone, &absolute), &mut tally).await;
        Ok(tally.verdict())
    };
    let verdict = verdict.await;
    fresh::discard(context, &namespace, &name).await;
    verdict
}

fn questions(zone: &Zone, name: &str) -> Vec<Question> {
    let server = SocketAddr::new(zone.dns.address, PORT);
    let of = |label: &str, name: &str, numbers: &dyn Fn(u8) -> bool, transport| {
        let addresses: BTreeSet<IpAddr> = (0..ALL).filter(|number| numbers(*number)).map(address).collect();
        Question {
            label: format!("{} addresses of {label} over {transport} of {server}", addresses.len()),
            probe: probes::dns(name, RecordType::A, Some(server), transport),
            expected: Expected::Addresses(addresses),
        }
    };
    let both = |transport| {
        let part = format!("{PART_HOST}.{name}");
        [
            of(&part, &part, &|number| host(number) == Some(PART_HOST), transport),
            of(name, name, &|_| true, transport),
        ]
    };
    [Transport::Udp, Transport::Tcp]
        .map(both)
        .into_iter()
        .flatten()
        .collect()
}

fn service(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    })
}

/// Goes with its Service.
fn slice(namespace: &str, name: &str, service: &Value) -> Value {
    let owner = service
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .map(|uid| json!({"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid}));
    let endpoint = |number: u8| {
        let mut endpoint = json!({"addresses": [address(number)], "conditions": {"ready": true}});
        if let Some(host) = host(number) {
            endpoint["hostname"] = json!(host);
        }
        endpoint
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("of-{name}"), "namespace": namespace, "labels": {"kubernetes.io/service-name": name},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": (0..ALL).map(endpoint).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ask, Fake, dns_records, infra, timeout};
    use meshproof_contract::{Action, DnsAnswer, Outcome};

    fn large(answer: impl Fn(&Ask<'_>, bool, Transport) -> Option<Outcome> + Send + Sync + 'static) -> Fake {
        Fake::healthy().rule(move |ask| match ask.action {
            Action::Dns { name, transport, .. } if name.contains("large-") && !name.starts_with(ONE_HOST) => {
                answer(ask, name.starts_with(PART_HOST), *transport)
            }
            _ => None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_over_both_transports_are_green() {
        let text = large(|_, _, _| None).expect(&LargeAnswer, infra(), "pass").await;
        assert!(
            text.contains("120 addresses of ") && text.contains("from 6 of 6"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn lost_datagrams_and_answers_cut_off_are_red() {
        let lost = large(|_, _, transport| (transport == Transport::Udp).then(timeout));
        let text = lost.expect(&LargeAnswer, infra(), "fail").await;
        assert!(text.contains("over UDP") && text.contains("no answer"), "{text}");
        let cut = large(|_, is_part, _| {
            let some = (0..75).map(|number| DnsAnswer::Address(address(number)));
            (!is_part).then(|| dns_records(some.collect()))
        });
        let text = cut.expect(&LargeAnswer, infra(), "fail").await;
        assert!(!text.contains("40 addresses of part | "), "{text}");
        let host = large(|ask, _, transport| {
            (transport == Transport::Udp && ask.from.workload == "node" && ask.from.node.as_str() == "infra-3")
                .then(timeout)
        });
        let text = host.expect(&LargeAnswer, infra(), "fail").await;
        assert!(text.contains("infra-3"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_never_learnt_is_inconclusive() {
        let fake = Fake::healthy().rule(|ask| match ask.action {
            Action::Dns { name, .. } if name.contains("large-") => Some(timeout()),
            _ => None,
        });
        fake.expect(&LargeAnswer, infra(), "inconclusive").await;
    }
}
