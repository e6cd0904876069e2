//! Which proxy of the environment leads to a server, decided as kubectl does: Go's `http.ProxyFromEnvironment`, whose
//! rules are `httpproxy.Config` of golang.org/x/net. Pure but for reading the variables.

use std::net::IpAddr;

/// The proxies of the environment, and what they are not for.
#[derive(Clone, Debug, Default)]
pub(super) struct EnvironmentProxies {
    /// For servers that speak TLS: `HTTPS_PROXY`.
    pub(super) https: Option<String>,
    /// For others: `HTTP_PROXY`.
    pub(super) http: Option<String>,
    /// `NO_PROXY`: names, suffixes, addresses and ranges, with commas between them.
    pub(super) not_for: String,
}

impl EnvironmentProxies {
    /// Those of this process; upper case counts first, and an empty value is none.
    pub(super) fn read() -> Self {
        let first = |names: [&str; 2]| {
            let mut values = names.into_iter().filter_map(|name| std::env::var(name).ok());
            values.find(|value| !value.is_empty())
        };
        Self {
            https: first(["HTTPS_PROXY", "https_proxy"]),
            http: first(["HTTP_PROXY", "http_proxy"]),
            not_for: first(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        }
    }

    /// The proxy to this server as a URL; none if it is reached directly.
    pub(super) fn to_server(&self, scheme: &str, host: &str, port: u16) -> Option<String> {
        let proxy = match scheme {
            "http" => self.http.as_ref(),
            _ => self.https.as_ref(),
        }?;
        if self.excludes(host, port) {
            return None;
        }
        Some(if proxy.contains("://") {
            proxy.clone()
        } else {
            format!("http://{proxy}")
        })
    }

    fn excludes(&self, host: &str, port: u16) -> bool {
        let host = host.trim().trim_matches(['[', ']']).to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let entries = self.not_for.split(',').map(|entry| entry.trim().to_ascii_lowercase());
        let mut entries = entries.filter(|entry| !entry.is_empty());
        entries.any(|entry| entry == "*" || is_excluded_by(&entry, &host, address, port))
    }
}

/// Whether an entry of `NO_PROXY` is about the server.
fn is_excluded_by(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if let Some((network, length)) = range(entry) {
        return address.is_some_and(|address| is_within(address, network, length));
    }
    let (name, only_port) = with_port(entry);
    if only_port.is_some_and(|only| only != port) {
        return false;
    }
    if let Ok(excluded) = name.parse::<IpAddr>() {
        return address == Some(excluded);
    }
    // `example.org` is about itself and what is below it, `.example.org` and `*.example.org` about the latter only.
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => !name.is_empty() && (host == name || host.ends_with(&format!(".{name}"))),
    }
}

/// A range of addresses: `10.0.0.0/8`.
fn range(entry: &str) -> Option<(IpAddr, u32)> {
    let (network, length) = entry.split_once('/')?;
    let (network, length) = (network.parse::<IpAddr>().ok()?, length.parse().ok()?);
    let longest = if network.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((network, length))
}

fn is_within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let differs = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => u128::from(address.to_bits() ^ network.to_bits()) << 96,
        (IpAddr::V6(address), IpAddr::V6(network)) => address.to_bits() ^ network.to_bits(),
        _ => return false,
    };
    differs.leading_zeros() >= length
}

/// An entry without its port, and that; IPv6 addresses have brackets where they have a port.
fn with_port(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (entry, None),
    };
    (name.trim_matches(['[', ']']), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_direct(not_for: &str, host: &str, port: u16) -> bool {
        let proxies = EnvironmentProxies {
            https: Some("proxy.example:3128".to_owned()),
            http: None,
            not_for: not_for.to_owned(),
        };
        proxies.to_server("https", host, port).is_none()
    }

    /// Cases of golang.org/x/net/http/httpproxy/proxy_test.go, and what real clusters have.
    #[test]
    fn no_proxy_is_read_as_kubectl_reads_it() {
        let list = "foobar.com, .barbaz.net,192.168.1.1,192.168.1.2:81,192.168.1.3:80,10.0.0.0/30,2001:db8::52:0:1,\
                    [2001:db8::52:0:2]:443,[2002:db8:a::45]:80,*.wild.example,";
        for (host, port) in [
            ("localhost", 6443),
            ("127.0.0.1", 6443),
            ("[::1]", 80),
            ("foobar.com", 443),
            ("www.foobar.com", 443),
            ("www.barbaz.net", 1),
            ("192.168.1.1", 6443),
            ("192.168.1.3", 80),
            ("10.0.0.2", 6443),
            ("2001:db8::52:0:1", 6443),
            ("[2001:db8::52:0:2]", 443),
            ("a.wild.example", 6443),
        ] {
            assert!(is_direct(list, host, port), "{host}:{port}");
        }
        for (host, port) in [
            ("foofoobar.com", 443),
            ("barbaz.net", 443),
            ("192.168.1.2", 82),
            ("192.168.1.4", 80),
            ("10.0.0.4", 6443),
            ("[2001:db8::52:0:2]", 444),
            ("wild.example", 443),
            ("proxy.example", 443),
        ] {
            assert!(!is_direct(list, host, port), "{host}:{port}");
        }
        assert!(is_direct("*", "api.example", 6443) && is_direct("a, *", "api.example", 6443));
        assert!(!is_direct("", "api.example", 6443) && !is_direct("10.0.0.0/33,:6443", "api.example", 6443));
    }

    #[test]
    fn a_proxy_without_a_scheme_speaks_http_and_each_scheme_has_its_own() {
        let proxies = EnvironmentProxies {
            https: Some("proxy.example:3128".to_owned()),
            http: Some("http://other.example".to_owned()),
            not_for: String::new(),
        };
        let to = |scheme| proxies.to_server(scheme, "api.example", 6443);
        assert_eq!(to("https").as_deref(), Some("http://proxy.example:3128"));
        assert_eq!(to("http").as_deref(), Some("http://other.example"));
        assert_eq!(
            EnvironmentProxies::default().to_server("https", "api.example", 6443),
            None
        );
    }
}
