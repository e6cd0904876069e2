//! The table of recorded semantics (`scenarios/semantics`), as the enforcement acts: policies are read, put in force
//! without a lab, and every flow is decided at both its ends. The harness' oracle has a test and a loader of its own.

use super::{
    cilium::{self, Reading},
    decide::{Decision, Flow, NamedPorts, NodeRules, RuleSet},
    kubernetes,
    layer7::Request,
    names::Names,
    rule::{PolicyKind, Rule},
    to_services,
};
use crate::identity::SecurityLabels;
use meshproof_apiserver::{
    Object, Store,
    resource::names::{ENDPOINT_SLICES, NAMESPACES, SERVICES},
};
use meshproof_datapath::{Direction, Identity, Protocol};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::Duration,
};

/// The cluster whose policies are in the table.
const CLUSTER: &str = "infra";
/// The first identity that is given to a pod.
const FIRST: u32 = 65_536 + 256;

struct Pod {
    address: Ipv4Addr,
    identity: Identity,
    labels: SecurityLabels,
    cluster: String,
    node: String,
    ports: NamedPorts,
}

struct Case<'a> {
    world: &'a Value,
    case: &'a Value,
    pods: BTreeMap<String, Pod>,
}

/// What a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Allowed,
    Dropped,
    Refused,
    Forbidden,
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn address(value: &Value) -> Ipv4Addr {
    string(value)
        .parse()
        .unwrap_or_else(|_| panic!("{value} is no address"))
}

fn pairs(value: &Value) -> impl Iterator<Item = (&String, &str)> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key, string(value)))
}

fn protocol(text: &str) -> Protocol {
    match text {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "ICMP" => Protocol::Icmp,
        "SCTP" => Protocol::Other(132),
        other => panic!("protocol {other}"),
    }
}

fn pod(number: u32, pod: &Value) -> Pod {
    let mut labels = SecurityLabels::new();
    for (key, value) in pairs(&pod["labels"]) {
        labels.insert(format!("k8s:{key}"), value.to_owned());
    }
    for (key, value) in [
        ("io.kubernetes.pod.namespace", &pod["namespace"]),
        ("io.cilium.k8s.policy.cluster", &pod["cluster"]),
        (
            "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
            &pod["namespace"],
        ),
    ] {
        labels.insert(format!("k8s:{key}"), string(value).to_owned());
    }
    let mut ports = NamedPorts::new();
    for (name, port) in pairs(&pod["ports"]) {
        let (of, number) = port.split_once(' ').expect("protocol and number");
        let port = (protocol(of), number.parse().expect("a port"));
        ports.entry(name.clone()).or_default().insert(port);
    }
    Pod {
        address: Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, 0, 10)) + number),
        identity: Identity(FIRST + number),
        labels,
        cluster: string(&pod["cluster"]).to_owned(),
        node: string(&pod["node"]).to_owned(),
        ports,
    }
}

impl<'a> Case<'a> {
    fn new(world: &'a Value, case: &'a Value) -> Self {
        let all = [&world["pods"], &case["pods"]].into_iter();
        let all = all.flat_map(|pods| pods.as_object().into_iter().flatten());
        let pods = all.zip(0..).map(|((name, of), number)| (name.clone(), pod(number, of)));
        let pods = pods.collect();
        Self { world, case, pods }
    }

    fn api_servers(&self) -> BTreeSet<Ipv4Addr> {
        let own = Some(&self.case["api-servers"]).filter(|own| own.is_array());
        let servers = own.unwrap_or(&self.world["api-servers"]).as_array().expect("addresses");
        servers.iter().map(address).collect()
    }

    fn is(&self, setting: &str) -> bool {
        self.case["settings"][setting] == true
    }

    /// The rules of all policies.
    fn rules(&self) -> Result<Vec<Rule>, String> {
        let reading = Reading {
            cluster: CLUSTER.to_owned(),
            local_by_default: self.is("default-local-cluster"),
            refuses_blocks: self.is("default-local-cluster"),
            proxy: true,
        };
        let mut rules = Vec::new();
        for (key, kind) in [
            ("cnp", PolicyKind::Namespaced),
            ("ccnp", PolicyKind::Clusterwide),
            ("knp", PolicyKind::Kubernetes),
        ] {
            for spec in self.case[key].as_array().into_iter().flatten() {
                let mut object = json!({"metadata": {"name": key, "uid": key}, "spec": spec});
                if kind != PolicyKind::Clusterwide {
                    object["metadata"]["namespace"] = json!("demo");
                }
                match kind {
                    // What is refused is not in force; of these the table has no case that is invalid.
                    PolicyKind::Kubernetes => rules.extend(kubernetes::read(&object, &reading)),
                    kind => rules.extend(cilium::read(kind, &object, &reading)?),
                }
            }
        }
        let (services, slices) = self.services();
        let resolve = |rule| to_services::resolve(rule, &services, &slices);
        Ok(rules.into_iter().map(resolve).collect())
    }

    /// The services, and their endpoints where they have no selector.
    fn services(&self) -> (Vec<Object>, Vec<Object>) {
        let store = Store::builder().build();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
        store.create(&NAMESPACES, namespace).expect("a namespace");
        for service in self.world["services"].as_array().expect("services") {
            let (namespace, name) = (&service["namespace"], &service["name"]);
            let metadata = json!({"namespace": namespace, "name": name});
            let spec = json!({"selector": service["selector"], "ports": [{"port": 80}]});
            let made = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
            store.create(&SERVICES, made).expect("a service");
            if service["endpoints"].is_array() {
                let labels = json!({"kubernetes.io/service-name": name});
                let slice = json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                    "metadata": {"namespace": namespace, "name": name, "labels": labels},
                    "endpoints": [{"addresses": service["endpoints"]}],
                });
                store.create(&ENDPOINT_SLICES, slice).expect("its endpoints");
            }
        }
        (store.all(&SERVICES, None), store.all(&ENDPOINT_SLICES, None))
    }

    /// The rules in force at the node of a pod.
    fn at(&self, pod: &Pod, rules: &[Rule], authenticates: bool) -> NodeRules {
        let mut named_ports = NamedPorts::new();
        for (name, ports) in self
            .pods
            .values()
            .filter(|pod| pod.cluster == CLUSTER)
            .flat_map(|pod| &pod.ports)
        {
            named_ports.entry(name.clone()).or_default().extend(ports);
        }
        let set = RuleSet {
            rules: rules.iter().cloned().map(Arc::new).collect(),
            named_ports,
            own_ports: BTreeMap::from([(pod.address, pod.ports.clone())]),
            cluster: CLUSTER.to_owned(),
            api_servers: self.api_servers(),
            cidrs_match_nodes: self.is("cidr-matches-nodes"),
            authenticates,
            leak: 0.0,
            ..RuleSet::default()
        };
        let names = Names::default();
        for (_, outside) in self.world["outside"].as_object().expect("hosts outside") {
            for name in outside["names"].as_array().expect("names") {
                let ttl = Duration::from_secs(3600);
                names.learn(pod.address, string(name), address(&outside["address"]), ttl);
            }
        }
        let known: BTreeMap<Identity, Arc<SecurityLabels>> = self
            .pods
            .values()
            .map(|pod| (pod.identity, Arc::new(pod.labels.clone())))
            .collect();
        NodeRules::new(
            set,
            Arc::new(names),
            Box::new(move |identity| known.get(&identity).cloned()),
        )
    }

    /// Address and identity of somebody, as the node of a pod knows them.
    fn known_at(&self, name: &str, pod: &Pod) -> (Ipv4Addr, Identity) {
        if let Some(pod) = self.pods.get(name) {
            return (pod.address, pod.identity);
        }
        let node = &self.world["nodes"][name];
        if node.is_object() {
            let of_node = address(&node["address"]);
            let is_local = node["name"] == pod.node.as_str() && node["cluster"] == pod.cluster.as_str();
            let identity = match (is_local, self.api_servers().contains(&of_node)) {
                (true, _) => Identity::HOST,
                (false, true) => Identity::KUBE_APISERVER,
                (false, false) => Identity::REMOTE_NODE,
            };
            return (of_node, identity);
        }
        (address(&self.world["outside"][name]["address"]), Identity::WORLD)
    }

    /// What the client of a flow sees: the rules of its own node first, then those of the server's.
    fn seen(&self, words: &str, rules: &[Rule], authenticates: bool) -> Seen {
        let words: Vec<&str> = words.split(' ').collect();
        let [from, "->", to, of, port, asked @ ..] = &words[..] else {
            panic!("{words:?} is no flow");
        };
        let (protocol, port): (Protocol, u16) = (protocol(of), port.parse().expect("a port"));
        let is_icmp = protocol == Protocol::Icmp;
        for (direction, own, other) in [(Direction::Egress, from, to), (Direction::Ingress, to, from)] {
            // Policies are objects of one cluster, whose agents alone enforce them.
            let Some(own) = self.pods.get(*own).filter(|pod| pod.cluster == CLUSTER) else {
                continue;
            };
            let (remote, remote_identity) = self.known_at(other, own);
            let decision = self.at(own, rules, authenticates).decide(&Flow {
                direction,
                endpoint: own.address,
                endpoint_identity: own.identity,
                remote,
                remote_identity,
                protocol,
                port: if is_icmp { 0 } else { port },
                icmp: is_icmp.then(|| (u8::try_from(port).expect("an ICMP type"), 0)),
            });
            match answered(&decision, asked, &format!("{to}:{port}")) {
                Seen::Allowed => {}
                refused => return refused,
            }
        }
        Seen::Allowed
    }

    fn deviations(&self) -> Vec<String> {
        let declined = !self.case["not-modelled"]["lab"].is_null();
        let rules = match (self.rules(), self.case["invalid"] == true || declined) {
            (Err(_), true) => return Vec::new(),
            (Err(why), false) => return vec![format!("is refused: {why}")],
            (Ok(_), true) if !declined => return vec!["is not refused".to_owned()],
            (Ok(rules), _) => rules,
        };
        let mut found = Vec::new();
        for (words, wanted) in self.case["flows"].as_object().into_iter().flatten() {
            for authenticates in [true, false] {
                let wanted = match (string(wanted), authenticates) {
                    ("allowed", _) | ("authenticated", true) => Seen::Allowed,
                    ("dropped", _) | ("authenticated", false) => Seen::Dropped,
                    ("forbidden", _) => Seen::Forbidden,
                    ("refused", _) => Seen::Refused,
                    (other, _) => panic!("outcome {other}"),
                };
                let seen = self.seen(words, &rules, authenticates);
                if seen != wanted && !declined {
                    found.push(format!("{words}: {wanted:?}, and the lab has {seen:?}"));
                }
            }
        }
        found
    }
}

/// What a decision is to a client that asks for this.
fn answered(decision: &Decision, asked: &[&str], authority: &str) -> Seen {
    match (decision, asked) {
        (Decision::Deny(_), _) => Seen::Dropped,
        (Decision::Allow, _) => Seen::Allowed,
        (Decision::Proxy(..), ["name", name]) if decision.admits_name(name) => Seen::Allowed,
        (Decision::Proxy(..), ["name", _]) => Seen::Refused,
        (Decision::Proxy(..), [method, path, headers @ ..]) => {
            let header = |wanted: &str| {
                let headers = headers.iter().filter_map(|header| header.split_once('='));
                let values = headers.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
                values.map(|(_, value)| value.to_owned()).collect()
            };
            let request = Request {
                method,
                path,
                host: authority,
                header: &header,
            };
            match decision.admits_request(&request) {
                true => Seen::Allowed,
                false => Seen::Forbidden,
            }
        }
        (Decision::Proxy(..), _) => panic!("nothing is asked of a proxy"),
    }
}

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).expect("a readable file");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn the_enforcement_agrees_with_the_table() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/semantics"));
    let world = read(&folder.join("world.yaml"));
    let (mut cases, mut found) = (0, Vec::new());
    for file in std::fs::read_dir(folder)
        .expect("the table")
        .map(|entry| entry.expect("a file").path())
    {
        if file.extension().is_none_or(|extension| extension != "yaml") || file.ends_with("world.yaml") {
            continue;
        }
        for case in read(&file).as_array().expect("a list of cases") {
            cases += 1;
            let place = format!(
                "{}, {}",
                file.file_name().expect("a name").display(),
                string(&case["case"])
            );
            let lines = Case::new(&world, case).deviations();
            found.extend(
                lines
                    .into_iter()
                    .map(|line| format!("{place} ({}): {line}", string(&case["source"]))),
            );
        }
    }
    assert!(cases > 100, "{cases} cases");
    assert!(found.is_empty(), "{} deviations:\n{}", found.len(), found.join("\n"));
}
