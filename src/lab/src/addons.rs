//! The list of system modules: the one place that knows them all. A module adds itself with one line here and one
//! `mod` in `lib.rs`.

use crate::system::SystemModule;
use std::sync::Arc;

/// Every module, in the order in which their objects are created.
pub(crate) fn all() -> Vec<Arc<dyn SystemModule>> {
    vec![
        Arc::new(crate::cilium::CiliumModule::default()),
        Arc::new(crate::dns::DnsModule),
        Arc::new(crate::enforcement::PolicyModule),
    ]
}
