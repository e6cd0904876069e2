//! Names that the lab gives to things, as types, so that a node's name cannot be passed for a cluster's.

use std::{fmt, sync::Arc};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes the name as it is; names are compared byte by byte.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $type {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// A cluster's name: nodes of different clusters are joined by the fabric's link between clusters.
    ClusterName
}
name! {
    /// A node's name, unique on the fabric.
    NodeName
}
name! {
    /// What the lab calls an endpoint (`namespace/pod`); only carried into flow events.
    EndpointName
}
name! {
    /// What the lab calls a service (`namespace/service`); faults and session affinity refer to it.
    ServiceName
}
