//! What a policy must do to a flow, computed from the policy objects alone.
//!
//! This is the harness's expectation, written from the Cilium and Kubernetes documentation; each rule cites its page.
//! It knows nothing of the lab, whose enforcement is another implementation, and does no I/O: objects and flows in, a
//! [`Decision`] with the deciding rule out.

mod decide;
mod endpoint;
mod flow;
mod fqdn;
mod label_filter;
mod model;
mod parse;
mod selector;
mod semantics;

pub use decide::{Decision, Expected, NotModelled, decide};
pub use endpoint::{Endpoint, NamedPorts};
pub use flow::{Flow, HttpRequest, Party, Protocol, Request};
pub use fqdn::NamePattern;
pub use label_filter::LabelFilter;
pub use model::{Direction, Policy};
pub use parse::{ParseError, parse};
pub use selector::Selector;
pub use semantics::{CidrMatch, DnsRefusal, EgressDenial, Semantics, Surroundings, UnnamedCluster};
