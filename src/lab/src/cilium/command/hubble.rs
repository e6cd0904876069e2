//! `hubble observe` and `hubble status` of the agent's own flows.

use super::{
    super::{gather::Gatherer, output::flow, time::duration, view::FlowView},
    Answer, CommandLine, UsageError,
};
use crate::{cilium::install::NAMESPACE, fault::Fault, object::is_ready};
use meshproof_apiserver::{
    Object,
    resource::names::{PODS, SERVICES},
};
use meshproof_datapath::{FlowEvent, FlowVerdict, Observation, Protocol};

/// What `hubble observe` shows without `--last`.
const LAST: usize = 20;
const FLAGS: [&str; 15] = [
    "output", "last", "first", "since", "until", "verdict", "type", "protocol", "pod", "from-pod", "to-pod", "ip",
    "from-ip", "to-ip", "color",
];

pub(super) async fn answer(gatherer: &Gatherer<'_>, arguments: &[String]) -> Result<Answer, UsageError> {
    let line = CommandLine::parse(arguments)?;
    let words: Vec<_> = line.words().collect();
    match words.as_slice() {
        ["observe"] => {
            line.only(&FLAGS)?;
            observe(&gatherer.flows().await, &line)
        }
        ["status"] if line.values("server").last().is_some() => {
            line.only(&["output", "server", "timeout"])?;
            let server = line.values("server").last().unwrap_or_default();
            Ok(relay_status(gatherer, server).await)
        }
        ["status"] => {
            line.only(&["output"])?;
            let view = gatherer.view().await;
            let (seen, max) = (view.counters.flows_seen, view.flow_capacity as u64);
            let current = seen.min(max);
            let uptime = view.now.duration_since(view.started).unwrap_or_default();
            let (share, rate) = (
                current as f64 * 100.0 / max.max(1) as f64,
                seen as f64 / uptime.as_secs_f64().max(1.0),
            );
            Ok(Answer::text(format!(
                "Healthcheck (via unix:///var/run/cilium/hubble.sock): Ok\nCurrent/Max Flows: {current}/{max} \
                 ({share:.2}%)\nFlows/s: {rate:.2}\nUptime: {}\n",
                duration(uptime)
            )))
        }
        _ => Err(UsageError::unknown_command(&words)),
    }
}

/// What relay says at the address of its Service: to which nodes of all clusters it is connected.
async fn relay_status(gatherer: &Gatherer<'_>, server: &str) -> Answer {
    let (lab, cluster) = (&gatherer.container.lab, &gatherer.container.cluster);
    let is_relay = |pod: &Object| pod.label("k8s-app") == Some("hubble-relay") && is_ready(pod);
    let service = cluster.store.find(&SERVICES, Some(NAMESPACE), "hubble-relay");
    let is_asked = service.is_some_and(|service| {
        let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        server
            .split_once(':')
            .is_some_and(|(host, port)| host == address && port == "80")
    });
    if !is_asked || !cluster.store.all(&PODS, Some(NAMESPACE)).iter().any(is_relay) {
        return Answer::failed(&format!(
            "failed to connect to '{server}': connection error: desc = \"transport: error while dialing: dial tcp \
             {server}: connect: connection refused\"\n"
        ));
    }
    let (mut connected, mut unavailable) = (0, Vec::new());
    for (of, node) in lab.nodes() {
        let is_own = of.name() == cluster.name();
        let is_lost = is_own && lab.acts_on(Fault::HubbleRelayPeerLost, of, node.name());
        if gatherer.pods.agents.of(node.name()).is_some() && !is_lost {
            connected += 1;
        } else {
            unavailable.push(format!("  - {}/{}\n", of.name(), node.name()));
        }
    }
    let view = gatherer.view().await;
    let (seen, max) = (view.counters.flows_seen, view.flow_capacity as u64);
    let all = connected + unavailable.len();
    let mut text = format!(
        "Healthcheck (via {server}): Ok\nCurrent/Max Flows: {}/{max}\nFlows/s: N/A\nConnected Nodes: \
         {connected}/{all}\n",
        seen.min(max)
    );
    if !unavailable.is_empty() {
        text.push_str(&format!(
            "Unavailable Nodes: {}\n{}",
            unavailable.len(),
            unavailable.concat()
        ));
    }
    Answer::text(text)
}

fn observe(view: &FlowView, line: &CommandLine) -> Result<Answer, UsageError> {
    let number = |flag: &str| match line.values(flag).last() {
        None => Ok(None),
        Some(text) => text.parse::<usize>().map(Some).map_err(|_| {
            UsageError::new(format!(
                "invalid argument \"{text}\" for \"--{flag}\" flag: not a number"
            ))
        }),
    };
    let wanted: Vec<_> = view.events.iter().filter(|event| matches(event, view, line)).collect();
    let wanted = match (number("first")?, number("last")?) {
        (Some(first), _) => &wanted[..first.min(wanted.len())],
        (None, last) => &wanted[wanted.len().saturating_sub(last.unwrap_or(LAST))..],
    };
    let mut text = String::new();
    let json = match line.values("output").last() {
        Some("json" | "jsonpb" | "JSON") => true,
        None | Some("compact") => false,
        Some(other) => return Err(UsageError::new(format!("invalid output format: {other}"))),
    };
    for event in wanted {
        if json {
            text.push_str(&flow::flow(event, view).to_string())
        } else {
            text.push_str(&flow::text(event, view))
        }
        text.push('\n');
    }
    Ok(Answer::text(text))
}

/// Filters of one kind are alternatives, filters of different kinds must all match.
fn matches(event: &FlowEvent, view: &FlowView, line: &CommandLine) -> bool {
    let any = |flag: &str, test: &dyn Fn(&str) -> bool| {
        let mut values = line.values(flag).flat_map(|value| value.split(',')).peekable();
        values.peek().is_none() || values.any(test)
    };
    let pod = |party: &meshproof_datapath::Party, wanted: &str| {
        let wanted = if wanted.contains('/') {
            wanted.to_owned()
        } else {
            format!("default/{wanted}")
        };
        let known = view
            .addresses
            .iter()
            .filter(|entry| entry.cidr.network() == party.address);
        // A pod's name may be given by its beginning.
        known
            .filter_map(|entry| entry.pod.as_ref())
            .any(|(namespace, name, _)| format!("{namespace}/{name}").starts_with(&wanted))
    };
    let ip = |party: &meshproof_datapath::Party, wanted: &str| {
        let address = party.address;
        wanted.parse() == Ok(address) || wanted.parse::<ipnet::Ipv4Net>().is_ok_and(|net| net.contains(&address))
    };
    let (source, destination) = (&event.source, &event.destination);
    any("verdict", &|wanted| wanted.eq_ignore_ascii_case(verdict(event)))
        && any("type", &|wanted| is_type(event, wanted))
        && any("protocol", &|wanted| wanted.eq_ignore_ascii_case(protocol(event)))
        && any("pod", &|wanted| pod(source, wanted) || pod(destination, wanted))
        && any("from-pod", &|wanted| pod(source, wanted))
        && any("to-pod", &|wanted| pod(destination, wanted))
        && any("ip", &|wanted| ip(source, wanted) || ip(destination, wanted))
        && any("from-ip", &|wanted| ip(source, wanted))
        && any("to-ip", &|wanted| ip(destination, wanted))
}

fn verdict(event: &FlowEvent) -> &'static str {
    match event.verdict {
        FlowVerdict::Forwarded => "FORWARDED",
        FlowVerdict::Dropped(_) => "DROPPED",
        FlowVerdict::Redirected(_) => "REDIRECTED",
    }
}

fn protocol(event: &FlowEvent) -> &'static str {
    match event.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
        Protocol::Other(_) => "",
    }
}

fn is_type(event: &FlowEvent, wanted: &str) -> bool {
    match wanted {
        "drop" => event.observation == Observation::Drop,
        "policy-verdict" => event.observation == Observation::PolicyVerdict,
        "trace" => !matches!(event.observation, Observation::Drop | Observation::PolicyVerdict),
        _ => false,
    }
}
