//! The one list of faults: sorted by name; a line has the variant, the name, the layer, the scope, the suites that it
//! concerns and what is wrong while it is in force. To add a fault, add a line here, and its effect in the layer's
//! module.

use super::{Layer, Scope};
use std::fmt;

macro_rules! faults {
    ($($fault:ident $name:literal $layer:ident $scope:ident [$($suite:literal),*] $what:literal;)+) => {
        /// A fault that the lab can inject; ordered as their names are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $(#[doc = $what] $fault,)+
        }

        /// Every fault that the lab knows, in the order of their names.
        pub static CATALOGUE: &[FaultSpec] = &[
            $(FaultSpec {
                fault: Fault::$fault,
                name: $name,
                what: $what,
                layer: Layer::$layer,
                suites: &[$($suite),*],
                scope: Scope::$scope,
            },)+
        ];
    };
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct FaultSpec {
    /// The fault.
    pub fault: Fault,
    /// Its name, in kebab case, as checks and `meshproof prove` use it.
    pub name: &'static str,
    /// What is wrong while it is in force, in one line; `told` adds how much.
    pub what: &'static str,
    /// The layer of the lab that is wrong.
    pub layer: Layer,
    /// The suites that it concerns.
    pub suites: &'static [&'static str],
    /// Where it acts.
    pub scope: Scope,
}

impl Fault {
    /// The fault of this name.
    pub fn named(name: &str) -> Option<Self> {
        CATALOGUE.iter().find(|spec| spec.name == name).map(|spec| spec.fault)
    }

    /// Its entry in the catalogue.
    pub fn spec(self) -> &'static FaultSpec {
        // The catalogue is made from the same list as the enum, in the same order.
        &CATALOGUE[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

faults! {
    AgentApiServerLost "agent-api-server-lost" Mesh LastNode ["mesh"]
        "one agent loses its own API server, keeps serving what it knew, and reports Failure";
    AgentForbidden "agent-forbidden" Agents DrawnNode ["state"]
        "one agent may not write CiliumEndpoints any more, and reports itself as healthy";
    AgentOptionChanged "agent-option-changed" Agents DrawnNode ["state"]
        "on one agent somebody has switched off the notification of drops";
    AgentRestartDrops "agent-restart-drops" Agents Lab ["failover"]
        "the packets of a node's pods are dropped while Cilium's agent starts on the node";
    AgentRestartPlaintext "agent-restart-plaintext" Agents Lab ["encryption"]
        "for 300 ms after an agent has started, what the pods of its node send leaves unencrypted";
    AgentRolloutStopped "agent-rollout-stopped" Objects DrawnNode ["components"]
        "one node runs another version of Cilium's agent than its neighbours: a rollout was stopped there";
    AgentSettingsDiffer "agent-settings-differ" Agents DrawnNode ["state"]
        "one agent runs with `enable-policy: never`, unlike its neighbours: its node enforces no policy";
    AgentsNotRestarted "agents-not-restarted" Objects DrawnCluster ["gitops"]
        "in one cluster a Helm upgrade changed cilium-config, and the agents were not restarted";
    ApiServerSlow "api-server-slow" Controllers DrawnCluster ["components"]
        "in one cluster the API server takes longer for every answer";
    ApiServiceUnavailable "api-service-unavailable" Objects DrawnCluster ["components"]
        "in one cluster an aggregated API is registered whose Service is gone";
    CaptureWrongDevice "capture-wrong-device" Agents Lab ["encryption"]
        "the agents name a device that carries no traffic between nodes: a capture there sees nothing";
    ChartPinDiffers "chart-pin-differs" Objects DrawnCluster ["gitops"]
        "in one cluster the source of Cilium's chart is pinned to a version that does not run";
    CiliumConfigEdited "cilium-config-edited" Objects DrawnCluster ["gitops"]
        "in one cluster somebody edited a key of cilium-config that the Helm release has otherwise";
    CiliumEndpointMissing "cilium-endpoint-missing" Agents DrawnNode ["state"]
        "the CiliumEndpoint of one running pod of one node is gone: other nodes take the pod for the world";
    CiliumNodeGhost "cilium-node-ghost" Agents DrawnNode ["state"]
        "a CiliumNode without a Node has the address of a living node";
    ClockWrong "clock-wrong" Controllers DrawnNode ["components"] "the clock of one node is ahead";
    ClusterLossDropsBackends "cluster-loss-drops-backends" Services Lab ["failover"]
        "services have no backends while every node of another cluster is down";
    ConnectionsResetOnChange "connections-reset-on-change" Services Lab ["failover"]
        "connections to unchanged backends are reset when other backends are added or removed";
    CorruptedPayload "corrupted-payload" Network NodePair ["connectivity"]
        "payloads between two nodes of one cluster are corrupted; checksums are valid";
    CorruptedPayloadMesh "corrupted-payload-mesh" Network MeshPair ["connectivity"]
        "payloads between two nodes of different clusters are corrupted; checksums are valid";
    CorruptedPayloadSameNode "corrupted-payload-same-node" Network FirstNode ["connectivity"]
        "payloads between pods of one node are corrupted; checksums are valid";
    CrdMissing "crd-missing" Objects DrawnCluster ["components"]
        "in one cluster the definition of Cilium's address pools is gone";
    CrdStoredVersionUnserved "crd-stored-version-unserved" Objects DrawnCluster ["components"]
        "in one cluster objects of Cilium are stored in a version that is not served";
    DebugContainerLeft "debug-container-left" Objects DrawnCluster ["components"]
        "in one cluster somebody left a debug container in a pod of Hubble relay";
    DnsAaaaNxdomain "dns-aaaa-nxdomain" Dns LastCluster ["dns"]
        "in one cluster DNS answers NXDOMAIN where a name has no IPv6 address";
    DnsAbsentNameResolves "dns-absent-name-resolves" Dns LastCluster ["dns"] "in one cluster absent names resolve";
    DnsAliasNotFollowed "dns-alias-not-followed" Dns DrawnCluster ["dns"]
        "in one cluster DNS answers with the alias of a Service of type ExternalName, and without its address";
    DnsAliasTargetWrong "dns-alias-target-wrong" Dns DrawnCluster ["dns"]
        "in one cluster DNS names another target for Services of type ExternalName";
    DnsDiesWithNode "dns-dies-with-node" Dns Lab ["failover"]
        "no DNS replica answers while a node of its cluster is down";
    DnsGlobalRemoteAddress "dns-global-remote-address" Dns LastCluster ["service"]
        "in one cluster a global service's name resolves to its ClusterIP in the other cluster";
    DnsLargeAnswerCut "dns-large-answer-cut" Dns DrawnCluster ["dns"]
        "in one cluster DNS leaves out the addresses that do not fit into a datagram, and does not say so";
    DnsLargeDatagramLost "dns-large-datagram-lost" Dns DrawnCluster ["dns"]
        "in one cluster answers of DNS over UDP that exceed 512 bytes are lost";
    DnsLossy "dns-lossy" Dns LastCluster ["dns"] "in one cluster DNS does not answer some questions";
    DnsMissingRecord "dns-missing-record" Dns LastCluster ["dns"] "in one cluster the services' names do not exist";
    DnsOneNameWrong "dns-one-name-wrong" Dns LastCluster ["dns"]
        "in one cluster the name of one Service of others resolves to an address that nobody has";
    DnsReadyEarly "dns-ready-early" Dns Lab ["failover"] "DNS replicas are ready five seconds before they answer";
    DnsReplicaStale "dns-replica-stale" Dns FirstDnsReplica ["dns"] "one DNS replica no longer sees changes";
    DnsReverseMissing "dns-reverse-missing" Dns LastCluster ["dns"] "in one cluster reverse lookups find no name";
    DnsSilentTcp "dns-silent-tcp" Dns FirstDnsReplica ["dns"] "one DNS replica never answers over TCP";
    DnsSilentUdp "dns-silent-udp" Dns FirstDnsReplica ["dns"] "one DNS replica never answers over UDP";
    DnsSlow "dns-slow" Dns LastCluster ["dns"] "in one cluster DNS answers late";
    DnsWrongClusterAddress "dns-wrong-cluster-address" Dns LastCluster ["dns"]
        "in one cluster a service's name resolves to the ClusterIP of that name in the other cluster";
    EncryptionOff "encryption-off" Encryption Lab ["encryption"] "no node encrypts although encryption is claimed";
    EndpointBlackhole "endpoint-blackhole" Network FirstNode ["connectivity"]
        "one pod of the first cluster receives nothing from its own node";
    EndpointRemovalLate "endpoint-removal-late" Services Lab ["failover"] "every node removes backends late";
    EndpointSliceStale "endpoint-slice-stale" Controllers Lab ["state"]
        "in every cluster the EndpointSlice of one Service of others keeps the address of a pod that has gone";
    EndpointsNeverReturn "endpoints-never-return" Services Lab ["failover"]
        "a service that loses all its backends never gets any again";
    ExternalTrafficPolicyIgnored "external-traffic-policy-ignored" Services DrawnCluster ["service"]
        "in one cluster every node forwards requests from outside although externalTrafficPolicy is Local";
    FailBackNever "fail-back-never" Services Lab ["failover"]
        "a global service that failed over to the other cluster never fails back";
    FailOverNever "fail-over-never" Services Lab ["failover"]
        "a global service that had local backends never fails over to the other cluster";
    FlowAnsweredByOtherCluster "flow-answered-by-other-cluster" Objects Lab ["flows"]
        "the last cluster has a database of its own behind the global Service whose database is elsewhere";
    FlowCertificateExpired "flow-certificate-expired" Servers Lab ["flows"]
        "the certificate of a server of others has expired";
    FlowClientDenied "flow-client-denied" Objects Lab ["flows"] "a policy of others denies one client what it needs";
    FlowPolicyMissing "flow-policy-missing" Objects Lab ["flows"]
        "the policy that admits some clients only to servers of others was deleted";
    FlowServerSlow "flow-server-slow" Servers Lab ["flows"] "a server of others answers HTTP requests late";
    FlowServiceWithoutBackends "flow-service-without-backends" Objects Lab ["flows"]
        "a Deployment of others behind global Services was scaled to zero";
    FlowWrongStatus "flow-wrong-status" Servers Lab ["flows"]
        "a server of others answers HTTP requests with status 503";
    FluxReleaseFailed "flux-release-failed" Objects DrawnCluster ["gitops"]
        "in one cluster Flux's HelmRelease of Cilium has failed";
    FluxRevisionBehind "flux-revision-behind" Objects DrawnCluster ["gitops"]
        "in one cluster Flux has applied an older revision than it has fetched";
    FluxSuspended "flux-suspended" Objects DrawnCluster ["gitops"] "in one cluster Flux's Kustomization is suspended";
    GlobalAffinityIgnored "global-affinity-ignored" Services LastCluster ["service"]
        "one cluster ignores the affinity of global services";
    GlobalAffinityNoFallback "global-affinity-no-fallback" Services LastCluster ["service"]
        "in one cluster a global service with affinity has no backends when the preferred side has none";
    GlobalAffinityWrittenNone "global-affinity-written-none" Objects DrawnCluster ["state"]
        "in one cluster the literal `none` is written out as affinity of somebody's global service";
    GlobalAnnotationIgnored "global-annotation-ignored" Mesh LastCluster ["service"]
        "one cluster merges services of the same name that are not annotated as global";
    GlobalBackendsNeverRemoved "global-backends-never-removed" Mesh LastCluster ["mesh", "service"]
        "one cluster never removes backends of global services that the other cluster removed";
    GlobalLegacyAnnotationIgnored "global-legacy-annotation-ignored" Mesh LastCluster ["service"]
        "one cluster does not merge services that have only the legacy annotation";
    GlobalMergedOneWay "global-merged-one-way" Mesh DrawnCluster ["state"]
        "one global service is merged in one direction only: one cluster takes no backends of it from the other";
    GlobalNeedsLocalBackends "global-needs-local-backends" Services LastCluster ["service"]
        "one cluster merges global services only where it has local backends";
    GlobalPortsMixedUp "global-ports-mixed-up" Services LastCluster ["service", "state"]
        "one cluster keeps the other's backends behind one only of two ports with one target port";
    GlobalRemoteBackendsMissing "global-remote-backends-missing" Mesh LastCluster ["mesh", "service"]
        "one cluster takes no backends of global services from the other cluster";
    GlobalSharedIgnored "global-shared-ignored" Mesh LastCluster ["service"]
        "one cluster merges services that the other cluster does not share";
    GlobalSpreadSkewed "global-spread-skewed" Balancing LastCluster ["service"]
        "in one cluster one backend of each global service gets nine of ten connections";
    GlobalSpreadSkewedOnNode "global-spread-skewed-on-node" Balancing FirstNode ["service"]
        "on one node one backend of each global service gets nine of ten connections";
    GlobalUnreadyBackendPublished "global-unready-backend-published" Mesh FirstCluster ["service"]
        "one cluster keeps publishing backends that are no longer ready";
    HairpinDropped "hairpin-dropped" Balancing LastCluster ["service"]
        "in one cluster a pod that a Service sends back to itself gets no answer";
    HeadlessMissingPod "headless-missing-pod" Dns LastCluster ["dns"]
        "in one cluster a headless service's name lacks one of its pods";
    HeadlessStalePod "headless-stale-pod" Dns LastCluster ["dns"]
        "in one cluster a headless service's name also resolves to a deleted pod";
    HeadlessSyncMissing "headless-sync-missing" Mesh LastCluster ["service"]
        "one cluster's DNS lacks the other cluster's pods of global headless services";
    HealthPortBlocked "health-port-blocked" Network NodePair ["connectivity"]
        "two nodes of one cluster do not reach each other's TCP port 4240, which cilium-health serves";
    HealthPortBlockedMesh "health-port-blocked-mesh" Network MeshPair ["connectivity"]
        "two nodes of different clusters do not reach each other's TCP port 4240, which cilium-health serves";
    HostPortMissingOnNode "host-port-missing-on-node" Services DrawnNode ["service"]
        "one node does not serve the hostPorts of its pods";
    HostPortUdpMissing "host-port-udp-missing" Services DrawnCluster ["service"]
        "the nodes of one cluster do not serve hostPorts over UDP";
    HostServiceDropped "host-service-dropped" Balancing FirstNode ["service"]
        "requests of one node's own processes to Services are lost";
    HostToPodDropped "host-to-pod-dropped" Network FirstNode ["connectivity"] "one node cannot reach its own pods";
    HostUnreachable "host-unreachable" Network FirstCluster ["connectivity"]
        "the pods of one cluster cannot reach its nodes";
    HostUnreachableMesh "host-unreachable-mesh" Network Mesh ["connectivity"]
        "the pods of one cluster cannot reach the nodes of the other";
    HttpReset "http-reset" Network Lab ["connectivity"]
        "connections to port 8080 of pods on other nodes are reset once established";
    HubbleCertificateExpiring "hubble-certificate-expiring" Objects DrawnCluster ["components"]
        "in one cluster the certificate of Hubble's servers ends in two days";
    HubblePortBlocked "hubble-port-blocked" Network DrawnNode ["connectivity"]
        "no other node reaches TCP port 4244 of one node, which Hubble serves";
    HubbleRelayPeerLost "hubble-relay-peer-lost" Agents DrawnNode ["components"]
        "Hubble relay has lost its connection to one node";
    HubbleRelayScaledToZero "hubble-relay-scaled-to-zero" Objects DrawnCluster ["components"]
        "in one cluster Hubble relay is scaled to zero";
    IcmpDropped "icmp-dropped" Network Lab ["connectivity"] "ICMP between pods of different nodes is dropped";
    IdentityUnknownOnNode "identity-unknown-on-node" Agents DrawnNode ["state"]
        "one node does not know one identity: no policy there matches its pods";
    IdleConnectionsDropped "idle-connections-dropped" Network Lab ["failover"]
        "TCP connections that were idle for 12 s get no packet through any more";
    InternalTrafficPolicyIgnored "internal-traffic-policy-ignored" Services DrawnCluster ["service"]
        "in one cluster every node uses the backends of all nodes although internalTrafficPolicy is Local";
    IpcacheEntryMissing "ipcache-entry-missing" Agents DrawnNode ["state"]
        "one node's ipcache lacks one pod of another node, which it takes for the world";
    IpcacheEntryStale "ipcache-entry-stale" Agents DrawnNode ["state"]
        "one node's ipcache keeps the address of a pod that has gone, with its identity";
    IpcacheEntryWrong "ipcache-entry-wrong" Agents DrawnNode ["state"]
        "one node's ipcache has the identity of another pod for a pod of another node";
    IpcacheKeyMissing "ipcache-key-missing" Encryption DrawnNode ["encryption"]
        "one node has no key for one pod of another node: with native routing it sends it everything unencrypted";
    IpcachePodsMissing "ipcache-pods-missing" Agents LastCluster ["policy"]
        "in one cluster the nodes' ipcache lacks the pods of other nodes, which are taken for the world";
    KubeProxyLeft "kube-proxy-left" Objects DrawnCluster ["components"]
        "in one cluster kube-proxy runs beside Cilium, which replaces it";
    KubeProxyReplacementOff "kube-proxy-replacement-off" Services LastCluster ["service"]
        "the agents of one cluster do not replace kube-proxy, and report so";
    KvstoremeshRestartDropsBackends "kvstoremesh-restart-drops-backends" Mesh Lab ["failover"]
        "agents forget the backends of other clusters when their own KVStoreMesh restarts";
    LatencyCluster "latency-cluster" Network NodePair ["connectivity"]
        "packets between two nodes of one cluster take longer";
    LatencyMesh "latency-mesh" Network Mesh ["connectivity"] "packets between the clusters take longer";
    LinkerdLeft "linkerd-left" Objects DrawnCluster ["components"]
        "in one cluster a namespace and a webhook of Linkerd are left";
    LoadBalancerAddressMissingOnNode "load-balancer-address-missing-on-node" Services DrawnNode ["service"]
        "one node does not serve the addresses of Services of type LoadBalancer";
    LossCluster "loss-cluster" Network NodePair ["connectivity"] "packets between two nodes of one cluster are lost";
    LossMesh "loss-mesh" Network MeshPair ["connectivity"] "packets between two nodes of different clusters are lost";
    LossSameNode "loss-same-node" Network FirstNode ["connectivity"] "packets between pods of one node are lost";
    MasqueradeCluster "masquerade-cluster" Network NodePair ["connectivity"]
        "pods of one node reach another node's pods with the node's address";
    MasqueradeMesh "masquerade-mesh" Network MeshPair ["connectivity"]
        "pods of one node reach the other cluster's pods with the node's address";
    MasqueradeSameNode "masquerade-same-node" Network FirstNode ["connectivity"]
        "pods of one node see the node's address instead of each other's";
    MeshAgentNotReady "mesh-agent-not-ready" Mesh LastClustersFirstNode ["mesh"]
        "one agent is connected to the other cluster, but not ready";
    MeshAgentNotSynced "mesh-agent-not-synced" Mesh LastNode ["mesh"]
        "one agent has not synchronized the other cluster's services";
    MeshApiserverDownDropsBackends "mesh-apiserver-down-drops-backends" Mesh Lab ["failover"]
        "a cluster's backends are dropped elsewhere as soon as its clustermesh-apiserver is down";
    MeshApiserverOutageDropsBackends "mesh-apiserver-outage-drops-backends" Mesh Lab ["failover"]
        "a cluster's backends are dropped elsewhere once its clustermesh-apiserver was down for 10 s";
    MeshCertificateExpiring "mesh-certificate-expiring" Mesh LastCluster ["mesh"]
        "the certificate with which one cluster connects to the other expires soon";
    MeshCertificateUntrusted "mesh-certificate-untrusted" Mesh LastCluster ["mesh"]
        "one cluster would not trust the other if it had to reconnect; the open connection works";
    MeshEndpointStale "mesh-endpoint-stale" Mesh FirstCluster ["state"]
        "one cluster keeps publishing the address of a deleted pod";
    MeshKvstoremeshDisconnected "mesh-kvstoremesh-disconnected" Mesh LastCluster ["mesh"]
        "one cluster's KVStoreMesh is disconnected from the other; its agents report no problem";
    MeshNodeCountShort "mesh-node-count-short" Mesh FirstCluster ["state"]
        "one cluster sees one node too few of the other";
    MeshPropagationSlow "mesh-propagation-slow" Mesh FirstCluster ["mesh"]
        "changes in one cluster reach the other late";
    MeshPropagationStopped "mesh-propagation-stopped" Mesh FirstCluster ["mesh"]
        "changes in one cluster no longer reach the other; every status is healthy";
    MeshRemoteNotConnected "mesh-remote-not-connected" Mesh LastCluster ["mesh"]
        "the agents of one cluster are disconnected from the other";
    MeshWrongClusterId "mesh-wrong-cluster-id" Mesh LastCluster ["mesh"]
        "the agents of one cluster have a wrong cluster id for the other";
    MtuBlackhole "mtu-blackhole" Network NodePair ["connectivity"]
        "packets over 1,290 bytes are silently dropped between two nodes of one cluster";
    MtuBlackholeMesh "mtu-blackhole-mesh" Network MeshPair ["connectivity"]
        "packets over 1,290 bytes are silently dropped between two nodes of different clusters";
    MtuBlackholeSameNode "mtu-blackhole-same-node" Network FirstNode ["connectivity"]
        "packets over 1,290 bytes are silently dropped between pods of one node";
    MtuTooSmall "mtu-too-small" Network NodePair ["connectivity"]
        "the path between two nodes of one cluster passes only 1,290 bytes, and ICMP reports it";
    NamespaceStuck "namespace-stuck" Objects DrawnCluster ["components"]
        "in one cluster a namespace cannot end: an API that its deletion asks is not available";
    NodeConfigDiffers "node-config-differs" Objects DrawnNode ["gitops"]
        "a CiliumNodeConfig gives one node's agent another setting than its neighbours have";
    NodeDeleted "node-deleted" Objects DrawnCluster ["components"]
        "in one cluster a Node that there was before has been deleted, and its machine runs on";
    NodeDetectionLate "node-detection-late" Controllers Lab ["failover"] "a lost node is detected 30 s late";
    NodeDiskPressure "node-disk-pressure" Controllers DrawnNode ["components"] "one node is short of disk";
    NodeEncryptionOff "node-encryption-off" Encryption FirstNode ["encryption"]
        "where node encryption is on, one agent runs without it: what its node sends leaves unencrypted";
    NodeEncryptionOptedOut "node-encryption-opted-out" Encryption FirstCluster ["encryption"]
        "where node encryption is on, every node of one cluster has opted out of it by its labels";
    NodeIcmpDropped "node-icmp-dropped" Network NodePair ["connectivity"]
        "ICMP between two nodes of one cluster is dropped";
    NodeKernelOld "node-kernel-old" Controllers DrawnNode ["components"]
        "one node has a kernel that is too old for Cilium";
    NodeKubeletOld "node-kubelet-old" Controllers DrawnNode ["components"]
        "one node has a kubelet that is four minor versions older than the API server";
    NodeLeaseLeft "node-lease-left" Objects DrawnCluster ["components"]
        "in one cluster a node's Lease is left whose Node was deleted";
    NodeLost "node-lost" Node LastNode []
        "the last node of the last cluster loses its network: its pods and kubelet are cut off";
    NodePairBlackhole "node-pair-blackhole" Network NodePair ["connectivity"]
        "all packets between two nodes of one cluster are dropped";
    NodePortMissing "node-port-missing" Services LastCluster ["service"]
        "the nodes of one cluster do not serve NodePorts";
    NodePortMissingOnNode "node-port-missing-on-node" Services DrawnNode ["service"]
        "one node does not serve NodePorts, neither to its own processes nor to others";
    NodePortOfOtherCluster "node-port-of-other-cluster" Balancing DrawnCluster ["service"]
        "the nodes of one cluster answer for their own NodePorts at the addresses of the other cluster's nodes";
    NodePortSourceHidden "node-port-source-hidden" Balancing DrawnCluster ["service"]
        "in one cluster backends on the node that was asked from outside see that node's address as the client's";
    NodePortUdpMissing "node-port-udp-missing" Services DrawnCluster ["service"]
        "the nodes of one cluster do not serve NodePorts over UDP";
    OneWayBlackhole "one-way-blackhole" Network MeshPair ["connectivity"]
        "all packets from a node of the first cluster to a node of the last are dropped";
    OperatorCrashLoop "operator-crash-loop" Objects DrawnCluster ["components"]
        "in one cluster Cilium's operator was given a flag that it does not know, and ends again and again";
    OperatorHangs "operator-hangs" Agents DrawnCluster ["components"]
        "in one cluster Cilium's operator hangs: its pod runs, and it does not renew its Lease";
    OperatorRestartDropsBackends "operator-restart-drops-backends" Agents Lab ["failover"]
        "agents forget the backends of other clusters for a moment when Cilium's operator restarts";
    OperatorScaledToZero "operator-scaled-to-zero" Objects DrawnCluster ["components"]
        "in one cluster Cilium's operator is scaled to zero";
    OperatorVersionDiffers "operator-version-differs" Objects DrawnCluster ["gitops"]
        "in one cluster Cilium's operator is of another release than the agents";
    OtherClusterBlackhole "other-cluster-blackhole" Network Mesh ["connectivity"]
        "all packets between the clusters are dropped";
    OthersPodBlackhole "others-pod-blackhole" Network FirstCluster ["connectivity"]
        "one pod of others receives nothing from its own node";
    PlaintextDatabase "plaintext-database" Encryption Lab ["encryption"] "packets to a database leave nodes in clear";
    PlaintextDns "plaintext-dns" Encryption Lab ["encryption"] "queries to cluster DNS leave the node unencrypted";
    PlaintextHeaders "plaintext-headers" Encryption Lab ["encryption"] "TCP segments without data leave nodes in clear";
    PlaintextIcmp "plaintext-icmp" Encryption Lab ["encryption"] "ICMP between pods leaves the node unencrypted";
    PlaintextIcmpErrors "plaintext-icmp-errors" Encryption FirstNode ["encryption"]
        "ICMP errors of the pods of one node, which quote what they are about, leave it unencrypted";
    PlaintextMasqueraded "plaintext-masqueraded" Encryption NodePair ["encryption"]
        "segments without data from the pods of one node to another node leave unencrypted, with the node's address";
    PlaintextMesh "plaintext-mesh" Encryption MeshPair ["encryption"]
        "traffic between pods of two nodes of different clusters leaves the nodes unencrypted";
    PlaintextNodePair "plaintext-node-pair" Encryption NodePair ["encryption"]
        "traffic between pods of two nodes of one cluster leaves the nodes unencrypted";
    PlaintextNodeTraffic "plaintext-node-traffic" Encryption NodePair ["encryption"]
        "where node encryption is on, what one node itself sends to another leaves unencrypted";
    PlaintextOneWay "plaintext-one-way" Encryption NodePair ["encryption"]
        "traffic between two nodes leaves unencrypted in one direction";
    PlaintextProxied "plaintext-proxied" Encryption Lab ["encryption"]
        "traffic that proxies send for pods leaves the node unencrypted";
    PlaintextSecondLink "plaintext-second-link" Encryption NodePair ["encryption"]
        "traffic between pods of two nodes leaves unencrypted by another link than the one that Cilium names";
    PlaintextService "plaintext-service" Encryption Lab ["encryption"]
        "traffic to a service's backend leaves the node unencrypted";
    PlaintextUdp "plaintext-udp" Encryption Lab ["encryption"] "UDP between pods leaves the node unencrypted";
    PodToHostDropped "pod-to-host-dropped" Network FirstNode ["connectivity"] "pods of one node cannot reach any node";
    PolicyAuthIgnored "policy-auth-ignored" Policy Lab ["policy"] "required authentication is not enforced";
    PolicyCcnpIgnored "policy-ccnp-ignored" Policy Lab ["policy"] "CiliumClusterwideNetworkPolicies are ignored";
    PolicyCidrExceptIgnored "policy-cidr-except-ignored" Policy Lab ["policy"]
        "exceptions (`except`) of CIDR rules are ignored";
    PolicyCidrMatchesPods "policy-cidr-matches-pods" Policy Lab ["policy"]
        "CIDR rules also match pods, which have identities";
    PolicyClusterLabelIgnored "policy-cluster-label-ignored" Policy Lab ["policy"]
        "peers match whatever their cluster is";
    PolicyDefaultDenyForced "policy-default-deny-forced" Policy Lab ["policy"]
        "rules deny by default although they disable default deny";
    PolicyDefaultDenyMissing "policy-default-deny-missing" Policy Lab ["policy"] "traffic that no rule allows passes";
    PolicyDenyIgnored "policy-deny-ignored" Policy Lab ["policy"] "deny rules are ignored";
    PolicyDnsNotRefused "policy-dns-not-refused" Policy Lab ["policy"] "the DNS proxy refuses no name";
    PolicyDnsNotRefusedOnNode "policy-dns-not-refused-on-node" Policy FirstNode ["policy"]
        "the DNS proxy of one node refuses no name";
    PolicyEgressIgnored "policy-egress-ignored" Policy Lab ["policy"] "egress rules are ignored";
    PolicyEgressIgnoredOnNode "policy-egress-ignored-on-node" Policy LastNode ["policy"]
        "one node ignores egress rules";
    PolicyEndpointsBehind "policy-endpoints-behind" Agents Lab ["policy"]
        "the agents' endpoints never report that they realized their policies, although they did";
    PolicyEnforcedLate "policy-enforced-late" Policy LastNode ["policy"] "one node enforces policy changes late";
    PolicyEntitiesIgnored "policy-entities-ignored" Policy Lab ["policy"] "entity rules match nothing";
    PolicyExpressionsIgnored "policy-expressions-ignored" Policy Lab ["policy"]
        "requirements on peers always match, except those for one value";
    PolicyFqdnIgnored "policy-fqdn-ignored" Policy Lab ["policy"] "FQDN rules allow every address, including pods";
    PolicyFqdnLabelledOnce "policy-fqdn-labelled-once" Policy Lab ["policy"]
        "an address that one FQDN rule opened is not opened by a later rule with another pattern of its name";
    PolicyFqdnMatchesNothing "policy-fqdn-matches-nothing" Policy Lab ["policy"]
        "FQDN rules match nothing: the names they allow stay blocked";
    PolicyIcmpIgnored "policy-icmp-ignored" Policy Lab ["policy"] "ICMP rules match nothing";
    PolicyIngressIgnored "policy-ingress-ignored" Policy Lab ["policy"] "ingress rules are ignored";
    PolicyIpBlockRefused "policy-ip-block-refused" Policy Lab ["policy"]
        "NetworkPolicies that admit an ipBlock are not in force, as with `policy-default-local-cluster`";
    PolicyKnpIgnored "policy-knp-ignored" Policy Lab ["policy"] "Kubernetes NetworkPolicies are ignored";
    PolicyL7Ignored "policy-l7-ignored" Policy Lab ["policy"]
        "HTTP rules act as rules for their ports: every request passes";
    PolicyL7IgnoredOnNode "policy-l7-ignored-on-node" Policy LastNode ["policy"] "one node ignores HTTP rules";
    PolicyLeaksOnNode "policy-leaks-on-node" Policy FirstNode ["policy"]
        "one node lets one of three connections pass that its policies deny";
    PolicyNamedPortIgnored "policy-named-port-ignored" Policy Lab ["policy"] "named ports match nothing";
    PolicyNamespaceIgnored "policy-namespace-ignored" Policy Lab ["policy"] "peers match whatever their namespace is";
    PolicyNotEnforcedOnOneNode "policy-not-enforced-on-one-node" Policy FirstNode ["policy"]
        "one node enforces no policy, and its agent reports that it does";
    PolicyNotRemoved "policy-not-removed" Policy Lab ["policy"] "a deleted policy stays in force";
    PolicyOverEnforced "policy-over-enforced" Policy Lab ["policy"]
        "the last clause of each allow rule is dropped: allowed peers or ports are denied";
    PolicyPortIgnored "policy-port-ignored" Policy Lab ["policy"] "rules for numbered ports allow every port";
    PolicyRefusedInsteadOfDropped "policy-refused-instead-of-dropped" Policy Lab ["policy"]
        "denied traffic is refused instead of dropped";
    PolicySkippedForServices "policy-skipped-for-services" Balancing DrawnNode ["policy"]
        "one node lets whatever it sends to a Service's backend pass, whatever its policies say";
    PortClosed "port-closed" Network NodePair ["connectivity"]
        "pods of two nodes of one cluster do not reach each other's TCP port 5432";
    PortClosedMesh "port-closed-mesh" Network MeshPair ["connectivity"]
        "pods of two nodes of different clusters do not reach each other's TCP port 6379";
    RateLimited "rate-limited" Network NodePair ["connectivity"]
        "two nodes of one cluster carry no more than 10 Mbit/s between them";
    RateLimitedNode "rate-limited-node" Network DrawnNode ["connectivity"]
        "one node sends no more than 10 Mbit/s to each other node";
    RelayRolloutStuck "relay-rollout-stuck" Objects DrawnCluster ["components"]
        "in one cluster a rollout of Hubble relay cannot end: its new pod fits no node";
    ReleaseNewerThanObjects "release-newer-than-objects" Objects DrawnCluster ["gitops"]
        "in one cluster the newest Helm release has a value that the objects do not have";
    ReleaseUpgradedByHand "release-upgraded-by-hand" Objects DrawnCluster ["gitops"]
        "in one cluster somebody upgraded the Helm release with a value that Git does not have";
    SameNodeDropped "same-node-dropped" Network FirstNode ["connectivity"] "pods of one node cannot reach each other";
    ServiceBackendDeadOnNode "service-backend-dead-on-node" Services DrawnNode ["state"]
        "one node keeps a dead backend of one service, and loses the connections that it chooses it for";
    ServiceBackendMissingOnNode "service-backend-missing-on-node" Services DrawnNode ["service", "state"]
        "one node lacks the first backend of every service";
    ServiceBackendUnusedOnNode "service-backend-unused-on-node" Balancing FirstNode ["service"]
        "one node lists the first backend of each Service of its own cluster and never chooses it";
    ServicePortBroken "service-port-broken" Services FirstCluster ["service"]
        "in one cluster the last of several TCP ports of a service leads to a closed port";
    ServiceStaleBackendOnNode "service-stale-backend-on-node" Balancing FirstNode ["service"]
        "one node sends some new connections to a Service to an address that no pod has any more";
    ServiceUdpBroken "service-udp-broken" Services LastCluster ["service"]
        "in one cluster the UDP ports of services have no backends";
    ServiceUnnamedPortBroken "service-unnamed-port-broken" Services DrawnCluster ["service"]
        "in one cluster Services whose port has no name have no backends";
    SessionAffinityIgnored "session-affinity-ignored" Services FirstCluster ["service"]
        "in one cluster session affinity is ignored";
    SessionAffinityLocalOnly "session-affinity-local-only" Balancing DrawnCluster ["service"]
        "in one cluster session affinity does not keep clients with pods of other clusters";
    SpireServerScaledToZero "spire-server-scaled-to-zero" Objects DrawnCluster ["components"]
        "in the cluster with mutual authentication the SPIRE server is scaled to zero";
    StaleBackendKept "stale-backend-kept" Services Lab ["failover"] "every node keeps removed backends forever";
    StrictModeIgnored "strict-mode-ignored" Encryption Lab ["encryption"]
        "strict mode is configured, but traffic without a key leaves the node unencrypted";
    TcpDropped "tcp-dropped" Network Lab ["connectivity"] "TCP between pods of different nodes is dropped";
    TunnelDown "tunnel-down" Network NodePair ["connectivity"] "WireGuard is down between two nodes of one cluster";
    TunnelDownMesh "tunnel-down-mesh" Network MeshPair ["connectivity"]
        "WireGuard passes nothing between two nodes of different clusters";
    UdpBackendStale "udp-backend-stale" Services Lab ["failover"] "UDP datagrams are still sent to removed backends";
    UdpDropped "udp-dropped" Network Lab ["connectivity"] "UDP between pods of different nodes is dropped";
    UdpFragmentsDropped "udp-fragments-dropped" Network DrawnNode ["connectivity", "service"]
        "the fragments of datagrams that one node sends to other nodes are dropped";
    UnreadyBackendKept "unready-backend-kept" Services FirstCluster ["service"]
        "in one cluster backends that are no longer ready still receive new connections";
    UnreadyKeepsTraffic "unready-keeps-traffic" Services Lab ["failover"]
        "backends that become unready still receive new connections";
    ValuesNewerThanRelease "values-newer-than-release" Objects DrawnCluster ["gitops"]
        "in one cluster Git has a value that was never installed: helm-controller hangs";
    WebhookLeft "webhook-left" Objects DrawnCluster ["components"]
        "in one cluster a webhook of cert-manager is left whose Service is gone";
    WireguardAllowedIpsNarrow "wireguard-allowed-ips-narrow" Encryption NodePair ["encryption"]
        "a node accepts nothing that another node sends from its own address";
    WireguardAllowedIpsWide "wireguard-allowed-ips-wide" Encryption NodePair ["encryption"]
        "a node accepts every source address from another node";
    WireguardHandshakeStale "wireguard-handshake-stale" Encryption NodePair ["encryption"]
        "a node reports its last handshake with another node as older than it is";
    WireguardKeyMismatch "wireguard-key-mismatch" Encryption NodePair ["encryption"]
        "a node has a wrong public key of another node";
    WireguardPeerMissing "wireguard-peer-missing" Encryption NodePair ["encryption"]
        "a node lacks another node as a peer, and sends it everything unencrypted";
}
