//! The L3 members of rules: selectors, address ranges, entities and names.

use super::{
    super::{ParseError, elements, only_keys},
    Reach,
    l7::names,
};
use crate::{
    model::{Direction, Entity, Peer},
    selector::Selector,
};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// The peers of one member: `fromEndpoints`, `toCIDR`, `toFQDNs`.
pub(super) fn l3_member(
    key: &str,
    value: &Value,
    place: &str,
    direction: Direction,
    reach: Reach<'_>,
) -> Result<Vec<Peer>, ParseError> {
    let prefix = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let each = |read: &dyn Fn(&Value) -> Result<Peer, ParseError>| elements(value, place)?.iter().map(read).collect();
    match (key, key.strip_prefix(prefix)) {
        (_, Some("Endpoints")) => each(&|peer| Ok(Peer::Endpoints(peer_selector(peer, place, reach)?))),
        (_, Some("CIDR")) => each(&|net| {
            Ok(Peer::Cidr {
                net: cidr(net, place)?,
                except: Vec::new(),
            })
        }),
        (_, Some("CIDRSet")) => each(&|set| cidr_set(set, place)),
        (_, Some("Entities")) => each(&|name| Ok(Peer::Entity(entity(name, place)?))),
        ("toFQDNs", _) => each(&|name| names(name, place).map(Peer::Name)),
        (_, Some("Requires" | "Groups" | "Nodes" | "Services")) => Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: key.to_owned(),
        }),
        _ => Err(ParseError::UnknownKey {
            place: place.to_owned(),
            key: key.to_owned(),
        }),
    }
}

/// The selector of the policy's own endpoints.
pub(super) fn own_selector(value: &Value, place: &str, reach: Reach<'_>) -> Result<Selector, ParseError> {
    let selector = Selector::parse(value, place)?;
    Ok(match reach {
        Reach::Namespace(namespace) => selector.in_namespace(namespace),
        Reach::Cluster => selector,
    })
}

/// A peer's selector: in a namespaced policy it means the policy's namespace unless it names one ("the namespace is
/// limited to the policy's own"); an empty one of a cluster-wide policy means every managed pod.
fn peer_selector(value: &Value, place: &str, reach: Reach<'_>) -> Result<Selector, ParseError> {
    if value.to_string().contains("\"reserved:") {
        return Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: "reserved: label".to_owned(),
        });
    }
    let selector = Selector::parse(value, place)?;
    Ok(match reach {
        _ if selector.names_namespace() => selector,
        Reach::Namespace(namespace) => selector.in_namespace(namespace),
        Reach::Cluster => selector.in_any_namespace(),
    })
}

pub(in crate::parse) fn cidr(value: &Value, place: &str) -> Result<IpNet, ParseError> {
    let text = value.as_str().ok_or_else(|| ParseError::kind(place, "a CIDR", value))?;
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| ParseError::kind(place, "a CIDR", value))
}

fn cidr_set(set: &Value, place: &str) -> Result<Peer, ParseError> {
    if !set["cidrGroupRef"].is_null() || !set["cidrGroupSelector"].is_null() {
        return Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: "cidrGroupRef".to_owned(),
        });
    }
    only_keys(set, &["cidr", "except"], place)?;
    let except = elements(&set["except"], place)?
        .iter()
        .map(|net| cidr(net, place))
        .collect::<Result<_, _>>()?;
    Ok(Peer::Cidr {
        net: cidr(&set["cidr"], place)?,
        except,
    })
}

fn entity(value: &Value, place: &str) -> Result<Entity, ParseError> {
    Ok(match value.as_str() {
        Some("all") => Entity::All,
        Some("world" | "world-ipv4") => Entity::World,
        Some("cluster") => Entity::Cluster,
        Some("host") => Entity::Host,
        Some("remote-node") => Entity::RemoteNode,
        Some("kube-apiserver") => Entity::KubeApiserver,
        Some("health" | "init" | "ingress" | "unmanaged" | "none" | "world-ipv6") => Entity::Other,
        _ => return Err(ParseError::kind(place, "an entity", value)),
    })
}
