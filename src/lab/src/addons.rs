//! The list of addons: the only module that names them all. An addon joins with one line here and one `mod` in
//! `lib.rs`.

use crate::system::Addon;
use std::sync::Arc;

/// Every addon, in the order in which their objects are created.
pub(crate) fn all() -> Vec<Arc<dyn Addon>> {
    vec![
        Arc::new(crate::cilium::CiliumAddon::default()),
        Arc::new(crate::kube_proxy::KubeProxyAddon),
        Arc::new(crate::dns::DnsAddon),
        Arc::new(crate::enforcement::PolicyAddon),
        Arc::new(crate::others::OthersAddon),
        Arc::new(crate::platform::PlatformAddon::new()),
        Arc::new(crate::flux::FluxAddon),
        Arc::new(crate::api_services::ApiServicesAddon),
    ]
}
