//! The kinds of traffic that a capture looks at, with the texts of the check of each kind.

use super::proxied::Proxy;
use meshproof_contract::{Instance, Scope};

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TrafficKind {
    Pods,
    PodsAcross,
    Service,
    GlobalService,
    Dns,
    Headers,
    ProxiedDns,
    ProxiedHttp,
}

impl TrafficKind {
    /// The check's id.
    pub const fn id(self) -> &'static str {
        match self {
            TrafficKind::Pods => "encryption::pod_traffic",
            TrafficKind::PodsAcross => "encryption::pod_traffic_other_cluster",
            TrafficKind::Service => "encryption::service_traffic",
            TrafficKind::GlobalService => "encryption::global_service_traffic",
            TrafficKind::Dns => "encryption::dns_traffic",
            TrafficKind::Headers => "encryption::headers",
            TrafficKind::ProxiedDns => "encryption::proxied_dns_traffic",
            TrafficKind::ProxiedHttp => "encryption::proxied_http_traffic",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            TrafficKind::Pods => "Traffic between pods on different nodes is not readable between the nodes",
            TrafficKind::PodsAcross => "Traffic between pods of the two clusters is not readable between the nodes",
            TrafficKind::Service => "Traffic from pods to a Service is not readable between the nodes",
            TrafficKind::GlobalService => "Traffic from pods to a global Service is not readable between the clusters",
            TrafficKind::Dns => "DNS questions of pods to cluster DNS are not readable between the nodes",
            TrafficKind::Headers => "The headers of packets between pods are not readable between the nodes",
            TrafficKind::ProxiedDns => "DNS questions through Cilium's DNS proxy are not readable between the nodes",
            TrafficKind::ProxiedHttp => "Requests through Cilium's HTTP proxy are not readable between the nodes",
        }
    }

    pub(super) const fn proves(self) -> &'static str {
        match self {
            TrafficKind::Pods => {
                "TCP and UDP between pods of one cluster are encrypted on every node pair, in both directions."
            }
            TrafficKind::PodsAcross => {
                "TCP and UDP between pods of the two clusters are encrypted on every node pair, in both directions."
            }
            TrafficKind::Service => "Traffic that is load-balanced to a backend on another node is encrypted.",
            TrafficKind::GlobalService => {
                "Traffic that is load-balanced to a backend in the other cluster is encrypted."
            }
            TrafficKind::Dns => "Whoever listens between nodes cannot read which names pods resolve.",
            TrafficKind::Headers => {
                "SYN, RST, ICMP and ICMP errors, which carry no marker, are encrypted too: whoever listens between \
                 nodes cannot read which pods communicate."
            }
            TrafficKind::ProxiedDns | TrafficKind::ProxiedHttp => {
                "Traffic that a policy redirects to a proxy leaves the node from the proxy instead of the pod, and is \
                 encrypted all the same."
            }
        }
    }

    pub(super) const fn how(self) -> &'static str {
        match self {
            TrafficKind::Pods | TrafficKind::PodsAcross => {
                "A pod on every node exchanges random 128-bit markers with a pod on every other node over TCP (4 KiB) \
                 and UDP (1,000 B), while an agent on every node captures on every link that leads out of the node, by \
                 the node's own list. No packet may contain a marker or show one of the pods' addresses unencrypted, \
                 in a tunnel or outside. Up to 16 nodes a cluster every node pair is used, beyond a sample in which \
                 every node sends and receives."
            }
            TrafficKind::Service | TrafficKind::GlobalService => {
                "As encryption::pod_traffic, but every node sends the markers to the Service's cluster IP, 12 times \
                 over TCP and 12 times over UDP. The answers say which node served them."
            }
            TrafficKind::Dns => {
                "As encryption::pod_traffic, but the marker is a name of 32 hexadecimal digits. A pod on every node \
                 asks the DNS Service and every DNS replica on another node for it over UDP and TCP; any answer counts."
            }
            TrafficKind::ProxiedDns => {
                "As encryption::dns_traffic, under a policy that redirects the pods' questions to the DNS proxy and \
                 allows all other traffic. The flows start after the proxy has refused every pod a name that the \
                 policy does not allow and passed on one that it allows."
            }
            TrafficKind::ProxiedHttp => {
                "As encryption::pod_traffic, but the marker is a header of a GET, under a policy that redirects the \
                 requests to the HTTP proxy and allows all other traffic. The flows start after every pod got status \
                 403 for a PUT and 200 for a GET; without an answer the check is skipped if only the live \
                 configuration promises the proxy."
            }
            TrafficKind::Headers => {
                "As encryption::pod_traffic, but a pod on every node connects to an open and a closed TCP port of, \
                 sends to a closed UDP port of, and pings, a pod on every other node; the capture looks for packets \
                 that show one of these pods' addresses, also inside an ICMP error. Where the other address is a \
                 node's, that counts only with node encryption or in a tunnel. Pings that an agent may not send are \
                 left out and noted."
            }
        }
    }

    pub(super) const fn faults(self) -> &'static [&'static str] {
        match self {
            TrafficKind::Pods => &[
                "plaintext-node-pair",
                "plaintext-udp",
                "plaintext-one-way",
                "plaintext-second-link",
                "encryption-off",
            ],
            TrafficKind::PodsAcross => &["plaintext-mesh", "plaintext-udp"],
            TrafficKind::Service => &["plaintext-service", "plaintext-udp"],
            TrafficKind::GlobalService => &["plaintext-service", "plaintext-mesh"],
            TrafficKind::Dns => &["plaintext-dns"],
            TrafficKind::Headers => &[
                "plaintext-headers",
                "plaintext-icmp",
                "plaintext-icmp-errors",
                "plaintext-masqueraded",
            ],
            TrafficKind::ProxiedDns | TrafficKind::ProxiedHttp => &["plaintext-proxied"],
        }
    }

    pub(super) const fn scope(self) -> Scope {
        match self {
            TrafficKind::PodsAcross | TrafficKind::GlobalService => Scope::Direction,
            _ => Scope::Cluster,
        }
    }

    /// The kind in an instance, for people.
    pub(super) fn subject(self, instance: &Instance) -> String {
        match self {
            TrafficKind::Pods => format!("pods of {instance}"),
            TrafficKind::PodsAcross => format!("pods, {instance}"),
            TrafficKind::Service => format!("a Service of {instance}"),
            TrafficKind::GlobalService => format!("a global Service, {instance}"),
            TrafficKind::Dns => format!("cluster DNS of {instance}"),
            TrafficKind::Headers => format!("pods of {instance} (headers only)"),
            TrafficKind::ProxiedDns => format!("cluster DNS of {instance} (through the DNS proxy)"),
            TrafficKind::ProxiedHttp => format!("pods of {instance} (through the HTTP proxy)"),
        }
    }

    /// The proxy through which the kind goes.
    pub(super) const fn proxy(self) -> Option<Proxy> {
        match self {
            TrafficKind::ProxiedDns => Some(Proxy::Dns),
            TrafficKind::ProxiedHttp => Some(Proxy::Http),
            _ => None,
        }
    }
}
