//! An in-memory Kubernetes API server for real clients. It knows nothing of Cilium or of meshproof.
//!
//! [`Store`] is the state with the API's rules, for controllers in process; a server puts TLS, authentication,
//! authorization and REST around it. [`Streams`] is what it needs from kubelets, [`Admission`] what it lets others
//! decide about writes.

mod admission;
mod audit;
mod auth;
mod decode;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod kubeconfig;
mod object;
mod pace;
mod patch;
pub mod resource;
mod rest;
mod selector;
mod server;
mod store;
mod streams;
mod sync;
mod time;

pub use admission::Operation;
pub use audit::{Audit, AuditEntry};
pub use auth::{MASTERS, Tokens, User};
pub use error::{ApiError, Cause, CauseKind, ErrorDetails, Reason};
pub use kubeconfig::{KubeContext, kubeconfig};
pub use object::Object;
pub use pace::Pace;
pub use resource::{Resource, ResourceDef, Scope, Subresource};
pub use selector::{FieldSelector, LabelSelector};
pub use server::{Server, ServerOptions, StartError};
pub use store::{
    Admission, AdmissionRequest, DeleteOptions, Deleted, GarbageCollector, List, ListOptions, Patch, Propagation,
    Store, StoreBuilder, Watch, WatchEvent, WatchOptions, WatchStart, WriteOptions,
};
pub use streams::{Duplex, Exec, ExitStatus, LogOptions, NoStreams, ReadWrite, Reader, Streams, Terminal, Writer};
