//! A small lab's state by hand: one of everything that outputs show.

use super::super::view::*;
use crate::{mesh::Counts, profile::Profile};
use ipnet::Ipv4Net;
use meshproof_datapath::{
    BackendState, Counters, Direction, DropReason, FlowEvent, FlowVerdict, Identity, Observation, Party, PeerStatus,
    Protocol, PublicKey,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 23);
const OTHER_POD: Ipv4Addr = Ipv4Addr::new(10, 246, 1, 9);
const IDENTITY: u32 = 78_032;
const OTHER_IDENTITY: u32 = 150_844;

fn labels(cluster: &str) -> Vec<String> {
    vec![
        "k8s:app=client".into(),
        format!("k8s:io.cilium.k8s.policy.cluster={cluster}"),
        "k8s:io.kubernetes.pod.namespace=demo".into(),
    ]
}

fn node(cluster: &str, last: u8, source: NodeSource) -> NodeView {
    let pods = if cluster == "infra" { 244 } else { 246 };
    NodeView {
        cluster: cluster.into(),
        name: format!("{cluster}-{last}"),
        address: Ipv4Addr::new(10, 25, 12, last + if cluster == "infra" { 10 } else { 13 }),
        router: Ipv4Addr::new(10, pods, last, 1),
        health: Ipv4Addr::new(10, pods, last, 254),
        pod_cidr: Ipv4Net::new(Ipv4Addr::new(10, pods, last, 0), 24).unwrap(),
        source,
    }
}

fn endpoint(id: u16, kind: EndpointKind, enabled: PolicyEnabled, created: SystemTime) -> EndpointView {
    let pod = matches!(kind, EndpointKind::Pod { .. });
    EndpointView {
        id,
        identity: if pod { IDENTITY } else { 1 },
        labels: if pod {
            labels("infra")
        } else {
            vec!["reserved:host".into()]
        },
        derived: if pod {
            vec!["k8s:pod-template-hash=786b5877b7".into()]
        } else {
            Vec::new()
        },
        address: (kind != EndpointKind::Host).then_some(POD),
        named_ports: if pod {
            vec![("dns".into(), "UDP".into(), 53)]
        } else {
            Vec::new()
        },
        created,
        policy: EndpointPolicy { revision: 4, enabled },
        kind,
    }
}

fn remote(phase: RemotePhase, last_failure: Option<SystemTime>) -> RemoteView {
    RemoteView {
        name: "apps".into(),
        phase,
        counts: Counts {
            nodes: 2,
            identities: 11,
            endpoints: 11,
            services: 1,
        },
        failures: u64::from(last_failure.is_some()),
        last_failure,
        etcd_id: 7,
    }
}

pub(super) fn remotes(now: SystemTime) -> Vec<RemoteView> {
    vec![
        remote(RemotePhase::Ready { cluster_id: 2 }, None),
        remote(RemotePhase::Waiting, Some(now)),
    ]
}

pub(super) fn encryption(now: SystemTime) -> EncryptionView {
    let peer = |last_handshake: Option<SystemTime>, bytes| PeerStatus {
        node: "apps-1".into(),
        public_key: PublicKey([7; 32]),
        endpoint: "10.25.12.14:51871".parse().unwrap(),
        allowed_ips: vec!["10.25.12.14/32".parse().unwrap()],
        last_handshake,
        rx_bytes: bytes,
        tx_bytes: bytes,
    };
    EncryptionView::WireGuard {
        public_key: PublicKey([9; 32]).to_string(),
        port: 51871,
        peers: vec![peer(Some(now), 1000), peer(None, 0)],
        nodes: NodeEncryption::Disabled,
    }
}

pub(super) fn agent() -> AgentView {
    let now = SystemTime::now();
    let started = now - Duration::from_secs(850);
    let nodes = vec![
        node("infra", 1, NodeSource::Local),
        node("infra", 2, NodeSource::CustomResource),
        node("apps", 1, NodeSource::ClusterMesh),
    ];
    let pod = |name: &str| EndpointKind::Pod {
        namespace: "demo".into(),
        name: name.into(),
        uid: "3a4005c1-1c8b-4cc7-949f-b9279e6f5d12".into(),
        workload: Some(("echo".into(), "Deployment".into())),
    };
    let path = |reached: bool| {
        let result = || {
            if reached {
                Ok(Duration::from_micros(900))
            } else {
                Err("Connection timed out".to_owned())
            }
        };
        PathHealth {
            address: POD,
            probed: Some(now),
            icmp: result(),
            http: result(),
        }
    };
    AgentView {
        now,
        started,
        settings: *Profile::Tunnel.settings(),
        native_range: "10.244.0.0/14".parse().unwrap(),
        encryption: encryption(now),
        configuration: BTreeMap::new(),
        mutual_authentication: false,
        replaces_kube_proxy: true,
        api_server: ApiServerView::Reached,
        is_forbidden: false,
        endpoints: vec![
            endpoint(46, pod("dns"), PolicyEnabled::None, started),
            endpoint(47, pod("client"), PolicyEnabled::Egress, started),
            endpoint(582, EndpointKind::Host, PolicyEnabled::None, started),
            endpoint(2438, EndpointKind::Health, PolicyEnabled::None, started),
        ],
        services: vec![
            service(1, "ClusterIP", true),
            service(2, "NodePort", true),
            service(3, "ClusterIP", false),
        ],
        identities: vec![
            (1, vec!["reserved:host".into()]),
            (IDENTITY, labels("infra")),
            (OTHER_IDENTITY, labels("apps")),
        ],
        addresses: addresses(),
        // Agents were recorded connected only: with KVStoreMesh they stay so.
        remotes: remotes(now)[..1].to_vec(),
        global_services: 1,
        health: HealthReport {
            timestamp: Some(now),
            interval: Duration::from_nanos(131_833_474_640),
            nodes: vec![
                NodeHealth {
                    name: "infra/infra-1".into(),
                    host: path(true),
                    endpoint: path(true),
                },
                NodeHealth {
                    name: "apps/apps-1".into(),
                    host: path(false),
                    endpoint: path(false),
                },
            ],
        },
        counters: counters(),
        flow_capacity: 4095,
        policy: PolicyView {
            revision: 4,
            rules: vec![json!({"endpointSelector": {}})],
            names: vec![NameView {
                endpoint: 457,
                name: "one.outside.example".to_owned(),
                address: Ipv4Addr::new(198, 51, 100, 10),
                looked_up: SystemTime::UNIX_EPOCH,
                ttl: Duration::from_secs(30),
            }],
        },
        node: nodes[0].clone(),
        device: "eth0",
        nodes,
    }
}

fn counters() -> Counters {
    Counters {
        forwarded: BTreeMap::from([(Direction::Egress, 10)]),
        forwarded_bytes: BTreeMap::from([(Direction::Egress, 1000)]),
        dropped: BTreeMap::from([((DropReason::PolicyDenied, Direction::Ingress), 3)]),
        flows_seen: 5000,
        ..Counters::default()
    }
}

fn service(id: u32, kind: &'static str, with_backends: bool) -> ServiceView {
    let backend = |node: Option<&str>| BackendView {
        address: POD,
        port: 8080,
        state: BackendState::Active,
        node: node.map(str::to_owned),
        zone: node.map(|_| "infra-z1".to_owned()),
    };
    ServiceView {
        id,
        namespace: "demo".into(),
        name: "echo".into(),
        kind,
        address: Ipv4Addr::new(10, 96, 0, 9),
        port: 80,
        protocol: Protocol::Tcp,
        external_policy: "Cluster",
        internal_policy: "Cluster",
        backends: if with_backends {
            vec![backend(Some("infra-1")), backend(None)]
        } else {
            Vec::new()
        },
    }
}

fn addresses() -> Vec<AddressView> {
    let pod = |name: &str, source| Some(("demo".to_owned(), name.to_owned(), source));
    let host = Some(Ipv4Addr::new(10, 25, 12, 14));
    vec![
        AddressView {
            cidr: Ipv4Net::default(),
            identity: 2,
            host: None,
            encrypted: false,
            pod: None,
        },
        AddressView {
            cidr: POD.into(),
            identity: IDENTITY,
            host,
            encrypted: true,
            pod: pod("client-x", "custom-resource"),
        },
        AddressView {
            cidr: OTHER_POD.into(),
            identity: OTHER_IDENTITY,
            host,
            encrypted: true,
            pod: pod("server-y", "clustermesh"),
        },
    ]
}

pub(super) fn flows() -> FlowView {
    let view = agent();
    let party = |address, port, identity| Party {
        address,
        port,
        identity: Identity(identity),
        endpoint: None,
    };
    let event = |observation, verdict, protocol, is_reply, tcp_flags| FlowEvent {
        sequence: 1,
        time: view.now,
        observation,
        verdict,
        direction: Direction::Ingress,
        protocol,
        source: if is_reply {
            party(POD, 8080, IDENTITY)
        } else {
            party(OTHER_POD, 40_000, OTHER_IDENTITY)
        },
        destination: if is_reply {
            party(OTHER_POD, 40_000, OTHER_IDENTITY)
        } else {
            party(POD, 8080, IDENTITY)
        },
        is_reply,
        tcp_flags,
        icmp: (protocol == Protocol::Icmp).then_some((8, 0)),
        length: 60,
    };
    let denied = FlowVerdict::Dropped(DropReason::PolicyDenied);
    FlowView {
        node: "infra/infra-1".into(),
        node_labels: vec!["kubernetes.io/os=linux".into()],
        events: vec![
            event(Observation::ToEndpoint, FlowVerdict::Forwarded, Protocol::Tcp, false, 2),
            event(Observation::ToEndpoint, FlowVerdict::Forwarded, Protocol::Tcp, true, 18),
            event(Observation::ToHost, FlowVerdict::Forwarded, Protocol::Tcp, false, 16),
            event(Observation::ToOverlay, FlowVerdict::Forwarded, Protocol::Udp, false, 0),
            event(Observation::PolicyVerdict, denied, Protocol::Tcp, false, 2),
            event(
                Observation::PolicyVerdict,
                FlowVerdict::Forwarded,
                Protocol::Tcp,
                false,
                2,
            ),
            event(Observation::Drop, denied, Protocol::Tcp, false, 2),
        ],
        addresses: view.addresses,
        identities: view.identities,
        endpoints: view.endpoints,
    }
}
