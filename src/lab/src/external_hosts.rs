//! Hosts outside the clusters: two machines on the network between the nodes that answer HTTP, and their names, which
//! cluster DNS serves as CoreDNS's plugin `hosts` does. Addresses for documentation (RFC 5737), names as in the
//! recordings.

use crate::health::http_endpoint;
use meshproof_datapath::{Fabric, FabricError, HostConfig, HostNet};
use std::net::Ipv4Addr;
use tokio_util::sync::CancellationToken;

/// Ports on which they answer every request.
const PORTS: [u16; 3] = [80, 8080, 8081];
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// The domain of their names.
pub(crate) const DOMAIN: &str = "outside.example";
/// Their names.
pub(crate) const NAMES: [(&str, Ipv4Addr); 4] = [
    ("one.outside.example", FIRST),
    ("a.wild.outside.example", FIRST),
    ("b.wild.outside.example", FIRST),
    ("two.outside.example", SECOND),
];

/// A name of each host.
pub const EXTERNAL_HOSTS: [&str; 2] = ["one.outside.example", "two.outside.example"];

/// Starts the hosts; they stop when dropped.
pub(crate) async fn start(fabric: &Fabric, stop: &CancellationToken) -> Result<Vec<HostNet>, FabricError> {
    let mut machines = Vec::new();
    for (name, address) in [("outside-1", FIRST), ("outside-2", SECOND)] {
        let config = HostConfig {
            name: name.into(),
            address,
            prefix_len: 32,
        };
        let machine = fabric.add_host(config).await?;
        for port in PORTS {
            if let Err(error) = http_endpoint(machine.namespace(), port, stop.clone()) {
                tracing::warn!(%error, name, port, "an external host cannot listen");
            }
        }
        machines.push(machine);
    }
    Ok(machines)
}
