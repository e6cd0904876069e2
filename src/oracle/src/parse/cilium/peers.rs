//! The L3 members of rules: selectors, address ranges, entities and names.

use super::{
    super::{ParseError, elements, only_keys},
    Reach,
    l7::names,
};
use crate::{
    model::{Direction, Effect, Entity, Peer},
    selector::Selector,
};
use ipnet::IpNet;
use serde_json::Value;

/// What a member says.
pub(super) enum L3Member {
    /// These peers; an empty list is nobody, also with ports (semantics A33).
    Peers(Vec<Peer>),
    /// As if it were not there: an empty `toFQDNs` or `toServices` (semantics A32; pkg/policy/api/egress.go).
    Absent,
}

/// The peers of one member: `fromEndpoints`, `toCIDR`, `toFQDNs`.
pub(super) fn l3_member(
    key: &str,
    value: &Value,
    place: &str,
    (direction, effect): (Direction, Effect),
    reach: Reach<'_>,
) -> Result<L3Member, ParseError> {
    let prefix = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let list = elements(value, place)?;
    let each = |read: &dyn Fn(&Value) -> Result<Peer, ParseError>| {
        let peers = list.iter().map(read).collect::<Result<_, _>>()?;
        Ok(L3Member::Peers(peers))
    };
    let allows = effect == Effect::Allow;
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
        ("toFQDNs", _) if allows && list.is_empty() => Ok(L3Member::Absent),
        ("toServices", _) if direction == Direction::Egress && list.is_empty() => Ok(L3Member::Absent),
        ("toFQDNs", _) if allows && direction == Direction::Egress => each(&|name| names(name, place).map(Peer::Name)),
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
        // A selector that names another namespace is corrected (semantics A35).
        Reach::Namespace(namespace) => selector.of_no_namespace().in_namespace(namespace),
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

/// A prefix; the CRD refuses an address without prefix length (semantics A41).
fn cidr(value: &Value, place: &str) -> Result<IpNet, ParseError> {
    let text = value.as_str().ok_or_else(|| ParseError::kind(place, "a CIDR", value))?;
    text.parse().map_err(|_| ParseError::kind(place, "a CIDR", value))
}

/// `cidr` and `except`, which must lie inside it.
pub(in crate::parse) fn cidr_with_exceptions(set: &Value, place: &str) -> Result<Peer, ParseError> {
    let net = cidr(&set["cidr"], place)?;
    let mut except = Vec::new();
    for value in elements(&set["except"], place)? {
        let excepted = cidr(value, place)?;
        if !net.contains(&excepted) {
            return Err(ParseError::invalid(place, format!("{excepted} is not inside {net}")));
        }
        except.push(excepted);
    }
    Ok(Peer::Cidr { net, except })
}

fn cidr_set(set: &Value, place: &str) -> Result<Peer, ParseError> {
    if !set["cidrGroupRef"].is_null() || !set["cidrGroupSelector"].is_null() {
        return Err(ParseError::Unsupported {
            place: place.to_owned(),
            what: "cidrGroupRef".to_owned(),
        });
    }
    only_keys(set, &["cidr", "except"], place)?;
    cidr_with_exceptions(set, place)
}

fn entity(value: &Value, place: &str) -> Result<Entity, ParseError> {
    Ok(match value.as_str() {
        Some("all") => Entity::All,
        Some("world") => Entity::World,
        Some("cluster") => Entity::Cluster,
        Some("host") => Entity::Host,
        Some("remote-node") => Entity::RemoteNode,
        Some("kube-apiserver") => Entity::KubeApiserver,
        Some("health" | "init" | "ingress" | "unmanaged" | "none") => Entity::Other,
        // Agents know world-ipv4 and world-ipv6, but the CRD does not (semantics A38, A50).
        _ => return Err(ParseError::kind(place, "an entity", value)),
    })
}
