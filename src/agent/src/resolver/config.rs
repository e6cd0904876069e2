//! `resolv.conf` and `hosts`, as text. Reads files, asks nobody.

use hickory_proto::rr::Name;
use std::{net::IpAddr, path::Path, time::Duration};

/// What matters of a `resolv.conf` (resolv.conf(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) search: Vec<Name>,
    pub(crate) ndots: usize,
    pub(crate) timeout: Duration,
    pub(crate) attempts: usize,
}

impl ResolvConf {
    /// Reads a file; the error is for people.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|e| format!("failed to read {}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("failed to parse {}: {e}", path.display()))
    }

    /// Parses a file's text.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let (config, options) =
            hickory_resolver::system_conf::parse_resolv_conf(text).map_err(|error| error.to_string())?;
        let absolute = |name: &Name| {
            let mut name = name.clone();
            name.set_fqdn(true);
            name
        };
        Ok(Self {
            servers: config.name_servers.iter().map(|server| server.ip).collect(),
            search: config.search.iter().map(absolute).collect(),
            // glibc's limits.
            ndots: options.ndots.min(15),
            timeout: options.timeout.clamp(Duration::from_secs(1), Duration::from_secs(30)),
            attempts: options.attempts.clamp(1, 5),
        })
    }
}

/// The addresses that a `hosts` file gives this host.
pub(crate) fn hosts_addresses(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut found: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address: IpAddr = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_resolv_conf_is_understood() {
        let text = b"search meshproof.svc.cluster.local svc.cluster.local cluster.local\n\
                     nameserver 10.96.0.10\noptions ndots:5\n";
        let config = ResolvConf::parse(text).expect("parses");
        assert_eq!(config.servers, [IpAddr::from([10, 96, 0, 10])]);
        assert_eq!(config.search[1].to_string(), "svc.cluster.local.");
        assert_eq!(
            (config.ndots, config.attempts, config.timeout),
            (5, 2, Duration::from_secs(5))
        );
    }

    #[test]
    fn a_file_without_a_server_is_an_error() {
        assert!(ResolvConf::parse(b"search a.b\n").is_err());
    }

    #[test]
    fn hosts_prefers_ipv4() {
        let text = "::1 localhost # loopback\n127.0.0.1\tLocalHost\n10.0.0.1 pod-1\n";
        let expected: Vec<IpAddr> = vec!["127.0.0.1".parse().expect("address"), "::1".parse().expect("address")];
        assert_eq!(hosts_addresses(text, "localhost."), expected);
        assert!(hosts_addresses(text, "loopback").is_empty());
    }
}
