//! Who asks, and what they may do. Users exist only as bearer tokens; rights only as RBAC objects in the store.

pub(crate) mod bootstrap;
pub(crate) mod rbac;
mod tokens;

pub use tokens::{Tokens, User};

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
