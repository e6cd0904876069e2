//! The table of recorded semantics (`scenarios/semantics`), as the oracle sees it. The lab's enforcement has a test and
//! a loader of its own.

use meshproof_oracle::{
    CidrMatch, DnsRefusal, EgressDenial, Endpoint, Expected, Flow, HttpRequest, NamedPorts, ParseError, Party, Policy,
    Protocol, Request, Semantics, Surroundings, UnnamedCluster, decide, parse,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// The cluster whose API holds the policies.
const CLUSTER: &str = "infra";

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).expect("a readable file");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The world, and every case with the file that it is in.
fn table() -> (Value, Vec<(String, Value)>) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/semantics"));
    let entries = std::fs::read_dir(folder).expect("the table");
    let mut cases = Vec::new();
    for file in entries.map(|entry| entry.expect("a file").path()) {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        if name.ends_with(".yaml") && name != "world.yaml" {
            let listed = read(&file);
            let listed = listed.as_array().unwrap_or_else(|| panic!("{name} is no list"));
            cases.extend(listed.iter().map(|case| (name.clone(), case.clone())));
        }
    }
    (read(&folder.join("world.yaml")), cases)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn protocol(name: &str) -> Protocol {
    match name {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        "ICMP" => Protocol::Icmp,
        _ => panic!("protocol {name}"),
    }
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let of = |value: &Value| value.as_str().expect("a string").to_owned();
    let object = value.as_object().into_iter().flatten();
    object.map(|(key, value)| (key.clone(), of(value))).collect()
}

fn endpoint(pod: &Value) -> Endpoint {
    let named = strings(&pod["ports"]).into_iter().map(|(name, port)| {
        let (of, number) = port.split_once(' ').expect("protocol and number");
        (name, (protocol(of), number.parse().expect("a port")))
    });
    let namespace = text(pod, "namespace").to_owned();
    Endpoint {
        cluster: text(pod, "cluster").to_owned(),
        namespace_labels: BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.clone())]),
        namespace,
        service_account: "default".to_owned(),
        labels: strings(&pod["labels"]),
        node: text(pod, "node").to_owned(),
        named_ports: named.collect(),
    }
}

/// One case in its world.
struct Case<'a> {
    world: &'a Value,
    case: &'a Value,
}

impl Case<'_> {
    fn serves_api(&self, address: &Value) -> bool {
        let own = &self.case["api-servers"];
        let servers = if own.is_null() { &self.world["api-servers"] } else { own };
        servers.as_array().expect("addresses").contains(address)
    }

    fn party(&self, name: &str) -> Party {
        for pods in [&self.world["pods"][name], &self.case["pods"][name]] {
            if pods.is_object() {
                return Party::Endpoint(endpoint(pods));
            }
        }
        let address = |of: &Value| text(of, "address").parse().expect("an address");
        let node = &self.world["nodes"][name];
        if node.is_object() {
            return Party::Node {
                cluster: text(node, "cluster").to_owned(),
                name: text(node, "name").to_owned(),
                address: address(node),
                serves_api: self.serves_api(&node["address"]),
            };
        }
        let outside = &self.world["outside"][name];
        assert!(outside.is_object(), "nobody is called {name}");
        let names = outside["names"].as_array().expect("names");
        Party::World {
            address: address(outside),
            names: names
                .iter()
                .map(|name| name.as_str().expect("a name").to_owned())
                .collect(),
            serves_api: self.serves_api(&outside["address"]),
        }
    }

    /// `FROM -> TO PROTOCOL PORT [name NAME | METHOD PATH [Name=value ...]]`.
    fn flow(&self, words: &str) -> Flow {
        let words: Vec<&str> = words.split(' ').collect();
        let [from, "->", to, of, port, request @ ..] = &words[..] else {
            panic!("{words:?} is no flow");
        };
        let request = match request {
            [] => Request::Opaque,
            ["name", name] => Request::Dns((*name).to_owned()),
            [method, path, headers @ ..] => {
                let headers = headers.iter().map(|text| text.split_once('=').expect("a header"));
                Request::Http(HttpRequest {
                    method: (*method).to_owned(),
                    path: (*path).to_owned(),
                    host: format!("{to}:{port}"),
                    headers: headers
                        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                        .collect(),
                })
            }
            [_] => panic!("{words:?} has half a request"),
        };
        Flow {
            from: self.party(from),
            to: self.party(to),
            protocol: protocol(of),
            port: port.parse().expect("a port"),
            request,
        }
    }

    fn surroundings(&self) -> Surroundings {
        let is = |key: &str| self.case["settings"][key] == true;
        let pods = [&self.world["pods"], &self.case["pods"]];
        let pods = pods.into_iter().flat_map(|pods| pods.as_object().into_iter().flatten());
        let endpoints: Vec<Endpoint> = pods.map(|(_, pod)| endpoint(pod)).collect();
        Surroundings {
            semantics: Semantics {
                unnamed_cluster: if is("default-local-cluster") {
                    UnnamedCluster::Local
                } else {
                    UnnamedCluster::Any
                },
                cidr_matches_nodes: if is("cidr-matches-nodes") {
                    CidrMatch::NodesToo
                } else {
                    CidrMatch::WorldOnly
                },
                dns_refusal: if is("name-error") {
                    DnsRefusal::NameError
                } else {
                    DnsRefusal::Refused
                },
                egress_denial: EgressDenial::Silent,
            },
            named_ports: NamedPorts::of(&endpoints),
        }
    }

    fn policies(&self) -> Result<Vec<Policy>, ParseError> {
        let kinds = [
            ("cnp", "cilium.io/v2", "CiliumNetworkPolicy"),
            ("ccnp", "cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
            ("knp", "networking.k8s.io/v1", "NetworkPolicy"),
        ];
        let mut policies = Vec::new();
        for (key, version, kind) in kinds {
            for (number, spec) in self.case[key].as_array().into_iter().flatten().enumerate() {
                let mut metadata = json!({"name": format!("{key}-{number}")});
                if key != "ccnp" {
                    metadata["namespace"] = json!("demo");
                }
                let object = json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
                policies.extend(parse(&object, CLUSTER)?);
            }
        }
        Ok(policies)
    }

    /// What is wrong, one line for each deviation.
    fn deviations(&self) -> Vec<String> {
        let declined = !self.case["not-modelled"]["oracle"].is_null();
        let policies = match (self.policies(), declined, self.case["invalid"] == true) {
            (Err(ParseError::Unsupported { .. }), true, _) => return Vec::new(),
            (Err(ParseError::Unsupported { .. }), false, true) | (Ok(_), _, true) => {
                return vec!["is not refused".to_owned()];
            }
            (Err(_), false, true) => return Vec::new(),
            (Err(error), ..) => return vec![format!("cannot be read: {error}")],
            (Ok(policies), ..) => policies,
        };
        let surroundings = self.surroundings();
        let mut found = Vec::new();
        for (words, wanted) in self.case["flows"].as_object().expect("flows") {
            let wanted = match (wanted.as_str().expect("an outcome"), surroundings.semantics.dns_refusal) {
                ("allowed", _) => Expected::Allowed,
                ("authenticated", _) => Expected::AllowedIfAuthenticated,
                ("dropped", _) => Expected::Dropped,
                ("forbidden", _) => Expected::Forbidden,
                ("refused", DnsRefusal::Refused) => Expected::DnsRefused,
                ("refused", DnsRefusal::NameError) => Expected::DnsNameError,
                (other, _) => panic!("outcome {other}"),
            };
            match decide(&policies, &surroundings, &self.flow(words)) {
                Err(_) if declined => {}
                Ok(decision) if decision.expected == wanted && !declined => {}
                Ok(decision) => found.push(format!("{words}: {wanted:?}, and the oracle has {decision}")),
                Err(error) => found.push(format!("{words}: {wanted:?}, and the oracle has {error}")),
            }
        }
        found
    }
}

#[test]
fn the_oracle_agrees_with_the_table() {
    let (world, cases) = table();
    assert!(cases.len() > 100, "{} cases", cases.len());
    let mut found = Vec::new();
    for (file, case) in &cases {
        let source = text(case, "source");
        assert!(
            source.starts_with(['A', 'B']),
            "{file}: {} has no source",
            text(case, "case")
        );
        let case = Case { world: &world, case };
        let lines = case.deviations();
        found.extend(
            lines
                .into_iter()
                .map(|line| format!("{file}, {} ({source}): {line}", text(case.case, "case"))),
        );
    }
    assert!(found.is_empty(), "{} deviations:\n{}", found.len(), found.join("\n"));
}
