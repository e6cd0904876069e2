//! What agents print of services: `cilium-dbg service list -o json`, and `cilium-dbg bpf lb list -o json`, a text for
//! each slot of the data path's map.

use crate::state::object::{Name, address, list, text};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// Address, port and protocol of a frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontend {
    /// 0.0.0.0 for a NodePort.
    pub address: SocketAddr,
    /// TCP, UDP or SCTP; ANY where the data path does not distinguish.
    pub protocol: String,
}

/// A frontend as the agent has it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Namespace and name of the Service; empty for what is none.
    pub service: Name,
    /// ClusterIP, NodePort, LoadBalancer, ExternalIPs, or something that is no Service's.
    pub kind: String,
    /// Where it is reached.
    pub frontend: Frontend,
    /// Callers inside the cluster have one of their own.
    pub is_internal: bool,
    /// Its backends with their states.
    pub backends: BTreeMap<SocketAddr, String>,
}

/// Every frontend.
pub struct Listed(pub Vec<Entry>);

impl Listed {
    /// Reads the output.
    ///
    /// # Errors
    /// When it is no list of services, or an empty one: every cluster has Service `kubernetes`.
    pub fn read(output: &Value) -> Result<Self, String> {
        let all: Vec<Entry> = list(output).filter_map(entry).collect();
        if all.is_empty() {
            return Err("its list of services has none that could be read".to_owned());
        }
        Ok(Self(all))
    }
}

fn entry(service: &Value) -> Option<Entry> {
    // What is in force; before it is, what is wanted.
    let realized = &service["status"]["realized"];
    let spec = if realized.is_object() {
        realized
    } else {
        &service["spec"]
    };
    let (flags, frontend) = (&spec["flags"], &spec["frontend-address"]);
    let backends = list(&spec["backend-addresses"]).filter_map(|backend| {
        let state = backend["state"].as_str().unwrap_or("active").to_owned();
        Some((socket(&backend["ip"], &backend["port"])?, state))
    });
    Some(Entry {
        service: (text(&flags["namespace"]), text(&flags["name"])),
        kind: text(&flags["type"]),
        frontend: Frontend {
            address: socket(&frontend["ip"], &frontend["port"])?,
            protocol: text(&frontend["protocol"]).to_ascii_uppercase(),
        },
        is_internal: frontend["scope"] == "internal",
        backends: backends.collect(),
    })
}

fn socket(ip: &Value, port: &Value) -> Option<SocketAddr> {
    Some(SocketAddr::new(address(ip)?, port.as_u64()?.try_into().ok()?))
}

/// What the map has behind a frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Backends.
    pub backends: BTreeSet<SocketAddr>,
    /// Slots whose backend the map does not have: requests there are lost.
    pub broken: usize,
    /// Whether the frontend itself is there (slot 0), without which no slot is asked.
    pub is_there: bool,
    /// Envoy takes the requests (Ingress, Gateway, L7 load balancing), and no slot is asked.
    pub to_proxy: bool,
}

/// The data path's map.
pub struct Map(BTreeMap<Frontend, Slots>);

impl Map {
    /// Reads the output.
    ///
    /// # Errors
    /// When it is no map, or has no slot that could be read.
    pub fn read(output: &Value) -> Result<Self, String> {
        let entries = output
            .as_object()
            .ok_or("its load balancer's map is not a JSON object")?;
        let mut all: BTreeMap<Frontend, Slots> = BTreeMap::new();
        for (key, texts) in entries {
            let Some((frontend, slot)) = slot(key) else { continue };
            let slots = all.entry(frontend).or_default();
            slots.is_there |= slot == 0;
            let is_to_proxy = |text: &str| text.contains("L7LB Proxy Port");
            slots.to_proxy |= list(texts).filter_map(Value::as_str).any(is_to_proxy);
            for text in list(texts).filter_map(Value::as_str).filter(|_| slot > 0) {
                let first = text.split_whitespace().next().unwrap_or_default();
                match first.rsplit_once('/').and_then(|(address, _)| address.parse().ok()) {
                    Some(address) => drop(slots.backends.insert(address)),
                    None => slots.broken += 1,
                }
            }
        }
        if all.is_empty() {
            return Err("its load balancer's map has no entry that could be read".to_owned());
        }
        Ok(Self(all))
    }

    /// What is behind a frontend; none if the map does not have it.
    pub fn at(&self, frontend: &Frontend) -> Option<&Slots> {
        let any = |protocol: &str| Frontend {
            protocol: protocol.to_owned(),
            ..frontend.clone()
        };
        let found = self.0.get(frontend).or_else(|| self.0.get(&any("ANY")));
        found.or_else(|| self.0.get(&any("NONE")))
    }

    /// The same NodePort on the node's own addresses.
    pub fn on_addresses<'a>(&'a self, node_port: &'a Frontend) -> impl Iterator<Item = (IpAddr, &'a Slots)> {
        let same = self.0.iter().filter(|(frontend, _)| {
            frontend.address.port() == node_port.address.port() && frontend.protocol == node_port.protocol
        });
        same.map(|(frontend, slots)| (frontend.address.ip(), slots))
    }
}

/// Frontend and slot of a key such as `10.96.0.10:53/TCP (1)`; none for the scope of callers inside (`/i`).
fn slot(key: &str) -> Option<(Frontend, u32)> {
    let (frontend, slot) = key.split_once(' ')?;
    let (address, protocol) = frontend.split_once('/')?;
    let frontend = Frontend {
        address: address.parse().ok()?,
        protocol: protocol.to_owned(),
    };
    let slot = slot.strip_prefix('(')?.split(')').next()?.parse().ok()?;
    (!protocol.contains('/')).then_some((frontend, slot))
}
