//! The lab's data path: node network namespaces, pod links, switch, service load balancing, WireGuard tunnels.
