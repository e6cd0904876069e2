//! `fromEndpoints`, `toEntities` and the others: who a clause is about.

use super::{Reader, Way};
use crate::enforcement::{
    layer7::NamePattern,
    rule::{Entity, Peer, Peers, ServiceReference},
    selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS, Operator, Selector},
};
use ipnet::Ipv4Net;
use serde_json::Value;

/// The fields that name peers, and what error texts call them.
const INGRESS: [(&str, &str); 6] = [
    ("fromEndpoints", "FromEndpoints"),
    ("fromCIDR", "FromCIDR"),
    ("fromCIDRSet", "FromCIDRSet"),
    ("fromEntities", "FromEntities"),
    ("fromNodes", "FromNodes"),
    ("fromGroups", "FromGroups"),
];
const EGRESS: [(&str, &str); 8] = [
    ("toEndpoints", "ToEndpoints"),
    ("toCIDR", "ToCIDR"),
    ("toCIDRSet", "ToCIDRSet"),
    ("toEntities", "ToEntities"),
    ("toServices", "ToServices"),
    ("toFQDNs", "ToFQDNs"),
    ("toNodes", "ToNodes"),
    ("toGroups", "ToGroups"),
];

impl Reader<'_> {
    /// The peers of a clause.
    pub(super) fn peers(&self, way: Way, clause: &Value) -> Result<Peers, String> {
        let fields: &[(&str, &str)] = match way {
            Way::Ingress => &INGRESS,
            Way::Egress => &EGRESS,
        };
        let present: Vec<_> = fields
            .iter()
            .filter_map(|(field, name)| Some((*field, *name, clause[*field].as_array()?)))
            .collect();
        let mut filled = present.iter().filter(|(_, _, list)| !list.is_empty());
        if let (Some((_, first, _)), Some((_, second, _))) = (filled.next(), filled.next()) {
            return Err(format!("Combining {first} and {second} is not supported yet"));
        }
        // An empty list of names or services does not count (`IsL3` in `pkg/policy/api/egress.go`).
        let counts = |field: &str, list: &[Value]| !list.is_empty() || !["toFQDNs", "toServices"].contains(&field);
        let mut members = present.iter().filter(|(field, _, list)| counts(field, list)).peekable();
        if members.peek().is_none() {
            return Ok(Peers::without_members(has_ports(clause)));
        }
        let filled = members.find(|(_, _, list)| !list.is_empty());
        let is_nobody = present
            .iter()
            .any(|(field, _, list)| counts(field, list) && list.is_empty());
        let Some((field, _, list)) = filled.filter(|_| !is_nobody) else {
            return Ok(Peers::Of(Vec::new()));
        };
        let mut peers = Vec::new();
        for item in list.iter() {
            peers.extend(self.peer(field, item)?);
        }
        Ok(Peers::Of(peers))
    }

    fn peer(&self, field: &str, item: &Value) -> Result<Option<Peer>, String> {
        Ok(match field {
            "fromEndpoints" | "toEndpoints" => Some(Peer::Labels(self.peer_selector(item)?)),
            "fromEntities" | "toEntities" => {
                let text = item.as_str().unwrap_or_default();
                Some(Peer::Entity(
                    Entity::parse(text).ok_or_else(|| format!("unsupported entity: {text}"))?,
                ))
            }
            "fromCIDR" | "toCIDR" => cidr(item.as_str().unwrap_or_default())?.map(|net| Peer::Cidr {
                net,
                except: Vec::new(),
            }),
            "fromCIDRSet" | "toCIDRSet" => cidr_set(item)?,
            "toFQDNs" => Some(Peer::Name(NamePattern::parse(item)?)),
            "toServices" => Some(Peer::Service(self.service(item)?)),
            "fromNodes" | "toNodes" => {
                return Err(
                    "FromNodes/ToNodes rules can only be applied when the \"enable-node-selector-labels\" flag is set"
                        .into(),
                );
            }
            _ => return Err("groups are not supported without a cloud provider".into()),
        })
    }

    /// A peer's selector, with the namespace and the cluster that it means without saying so.
    pub(super) fn peer_selector(&self, item: &Value) -> Result<Selector, String> {
        let mut selector = Selector::parse(item)?;
        if selector.mentions_reserved() {
            return Ok(selector);
        }
        if !selector.mentions(NAMESPACE) {
            if self.namespace.is_empty() {
                // Only pods, even where the selector is empty.
                selector = selector.and(NAMESPACE, Operator::Exists);
            } else if !selector.mentions_prefix(NAMESPACE_LABELS) {
                selector = selector.and(NAMESPACE, Operator::In(vec![self.namespace.to_owned()]));
            }
        }
        if self.reading.local_by_default && !selector.mentions(CLUSTER) {
            selector = selector.and(CLUSTER, Operator::In(vec![self.reading.cluster.clone()]));
        }
        Ok(selector)
    }

    fn service(&self, item: &Value) -> Result<ServiceReference, String> {
        let namespace = |value: &Value| {
            value["namespace"]
                .as_str()
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
        };
        let named = &item["k8sService"];
        if let Some(name) = named["serviceName"].as_str() {
            let own = (!self.namespace.is_empty()).then(|| self.namespace.to_owned());
            let namespace = namespace(named).or(own).unwrap_or_default();
            return Ok(ServiceReference::Name {
                namespace,
                name: name.to_owned(),
            });
        }
        let selected = &item["k8sServiceSelector"];
        if selected.is_object() {
            let selector = Selector::parse(&selected["selector"])?;
            return Ok(ServiceReference::Labels {
                namespace: namespace(selected),
                selector,
            });
        }
        Err("toServices needs k8sService or k8sServiceSelector".into())
    }
}

/// Whether a clause speaks of ports or ICMP types.
fn has_ports(clause: &Value) -> bool {
    let mut lists = ["toPorts", "icmps"].into_iter().map(|field| clause[field].as_array());
    lists.any(|list| list.is_some_and(|list| !list.is_empty()))
}

/// A prefix, as the definition's format has it; none for IPv6, which the lab does not have.
fn cidr(text: &str) -> Result<Option<Ipv4Net>, String> {
    if text.is_empty() {
        return Err("IP must be specified".into());
    }
    match text.parse::<ipnet::IpNet>() {
        Ok(ipnet::IpNet::V4(net)) => Ok(Some(net.trunc())),
        Ok(ipnet::IpNet::V6(_)) => Ok(None),
        Err(_) => Err(format!("unable to parse CIDR: {text:?}")),
    }
}

fn cidr_set(item: &Value) -> Result<Option<Peer>, String> {
    let text = item["cidr"].as_str().unwrap_or_default();
    if text.is_empty() && !(item["cidrGroupRef"].is_null() && item["cidrGroupSelector"].is_null()) {
        return Err("CiliumCIDRGroups are not supported in the lab".into());
    }
    let unparsable = |_| format!("Unable to parse CIDRRule {text:?}");
    let net: ipnet::IpNet = text.parse().map_err(unparsable)?;
    let mut excepted = Vec::new();
    for except in item["except"].as_array().into_iter().flatten() {
        let except = except.as_str().unwrap_or_default();
        let parsed: ipnet::IpNet = except
            .parse()
            .map_err(|_| format!("Unable to parse CIDRRule {except:?}"))?;
        if !net.contains(&parsed.network()) {
            return Err(format!(
                "allow CIDR prefix {text} does not contain exclude CIDR prefix {except}"
            ));
        }
        if let ipnet::IpNet::V4(parsed) = parsed {
            excepted.push(parsed.trunc());
        }
    }
    Ok(match net {
        ipnet::IpNet::V4(net) => Some(Peer::Cidr {
            net: net.trunc(),
            except: excepted,
        }),
        ipnet::IpNet::V6(_) => None,
    })
}
