//! What a policy must do to a flow, computed from the policy objects alone.
//!
//! This is the harness's expectation, written from the Cilium and Kubernetes documentation, each rule citing its
//! page. It knows nothing of the lab, whose enforcement is another implementation, and does no I/O: objects and flows
//! in, a [`Decision`] with the deciding rule out.

mod decide;
mod fqdn;
mod model;
mod parse;
mod selector;
mod subject;

pub use decide::{CidrMatch, Decision, DnsRefusal, EgressDenial, Expected, Semantics, UnnamedCluster, decide};
pub use fqdn::NamePattern;
pub use model::{Direction, Policy};
pub use parse::{ParseError, parse};
pub use selector::Selector;
pub use subject::{Endpoint, Flow, HttpRequest, Party, Protocol, Request};
