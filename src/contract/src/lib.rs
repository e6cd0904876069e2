//! The vocabulary of meshproof: names, facts, claims, probes, outcomes, checks, verdicts and events.
//!
//! Everything that two rooms of the house have to agree on is here, and nothing else: no I/O, no
//! runtime, no Kubernetes client. Suites see the world through [`Environment`] only, so a check cannot
//! reach around what the harness can account for.

pub mod admission;
pub mod advice;
pub mod again;
pub mod api_requests;
pub mod capture;
pub mod cause;
pub mod chain;
pub mod check;
pub mod cilium;
pub mod claim;
pub mod disruption;
pub mod environment;
pub mod event;
pub mod evidence;
pub mod exchange;
pub mod exit;
pub mod facts;
pub mod flow;
pub mod house;
pub mod measure;
pub mod name;
pub mod outcome;
pub mod probe;
pub mod pull_policy;
pub mod run_state;
pub mod shared;
pub mod signature;
pub mod stream;
pub mod tally;
pub mod text;
pub mod thresholds;
pub mod verdict;
pub mod waiver;
pub mod watching;

pub use admission::{Admission, End, Footprint, Part};
pub use again::again;
pub use api_requests::{ApiRequests, api_requests_line};
pub use capture::{CaptureReport, CaptureSpec, Marker, Needle};
pub use cause::{ClusterChange, Silent, Trouble, TroubleKind};
pub use chain::{Break, Chain, GitFacts, Link, LinkKind, LinkState};
pub use check::{Check, CheckContext, CheckText, FlowKind, Instance, Needs, Scope, Suite};
pub use claim::{Claim, ClaimKind, ClaimSource};
pub use disruption::{Component, Consent, Disruption};
pub use environment::{
    CaptureId, CiliumAnswer, CiliumQuery, ClockReading, Environment, EnvironmentError, ObjectRef, Readiness, StreamId,
};
pub use event::{Event, EventRecord};
pub use evidence::{Evidence, NodeLabel};
pub use exchange::{Exchange, Heard, Speech, TlsClient};
pub use exit::Exit;
pub use facts::{
    AgentFacts, ClusterFacts, DnsFacts, DnsReplica, Facts, ForeignNode, Generation, NodeFacts, OutsideFacts,
    ServiceFacts,
};
pub use flow::Flow;
pub use house::{Barred, HouseRule};
pub use measure::{Distribution, Measurement, Subject, Unit};
pub use name::{AgentId, CheckId, ClusterName, FaultName, NodeName, RunId, TrialName};
pub use outcome::{DnsAnswer, DnsCode, Identity, Outcome, Timing};
pub use probe::{Action, Probe, RecordType, Search, Target, Transport};
pub use pull_policy::PullPolicy;
pub use run_state::RunState;
pub use shared::RunShared;
pub use signature::{Signature, Signatures};
pub use stream::{StreamKind, StreamReport, StreamResult, StreamSample, StreamSpec};
pub use tally::Tally;
pub use thresholds::{Percent, Thresholds};
pub use verdict::{Finding, Verdict, Witness};
pub use waiver::{Force, Standing, Waiver};

/// Ports on which a probe agent serves inside its pod.
pub mod port {
    /// HTTP: identity, payloads, status codes; also the kubelet's readiness probe (`/readyz`).
    pub const HTTP: u16 = 8080;
    /// TCP: length-prefixed echo with identity.
    pub const TCP: u16 = 8081;
    /// UDP: echo with identity.
    pub const UDP: u16 = 8082;
    /// Control frames of the harness; bound to loopback only.
    pub const CONTROL: u16 = 8079;
    /// Added to each of these by an agent that shares its node's network, where the low ones may be taken.
    pub const HOST_OFFSET: u16 = 20_000;
    /// The same for an agent that captures there, since another one may run beside it.
    pub const CAPTURE_OFFSET: u16 = 21_000;
    /// Added to each of these where it is a `hostPort`: outside of Kubernetes' NodePorts, in whose range Cilium ignores
    /// it, and of the ports that Linux gives to clients.
    pub const HOST_PORT_OFFSET: u16 = 19_000;
}
