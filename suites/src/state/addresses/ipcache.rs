//! What `cilium-dbg bpf ipcache list -o json` prints: a text for each prefix.

use ipnet::IpNet;
use serde_json::Value;
use std::{collections::BTreeMap, net::IpAddr};

/// Identities below are reserved (`pkg/identity`): host, world, health, remote-node and the like.
const FIRST_OF_PODS: u64 = 256;
/// Identities from here on are the agent's own, of CIDRs and nodes.
const FIRST_LOCAL: u64 = 1 << 24;

/// What the data path has of each prefix.
pub struct Ipcache(BTreeMap<IpNet, Entry>);

/// What it has of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its identity.
    pub identity: u64,
    /// The node to which packets go that leave by a tunnel; none on the own node, and for what has none.
    pub tunnel: Option<IpAddr>,
    /// The key by which what is for it is encrypted; 0 for none.
    pub key: u64,
}

impl Ipcache {
    /// Reads the output.
    ///
    /// # Errors
    /// When it is none, or has no entry: every node knows at least itself.
    pub fn read(output: &Value) -> Result<Self, String> {
        let entries = output.as_object().ok_or("its ipcache is not a JSON object")?;
        let entry = |(prefix, texts): (&String, &Value)| {
            let text = texts.as_array()?.first()?.as_str()?;
            let part = |name: &str| text.split_whitespace().find_map(|part| part.strip_prefix(name));
            let tunnel = part("tunnelendpoint=").and_then(|tunnel| tunnel.parse::<IpAddr>().ok());
            let entry = Entry {
                identity: part("identity=")?.parse().ok()?,
                tunnel: tunnel.filter(|tunnel| !tunnel.is_unspecified()),
                key: part("encryptkey=").and_then(|key| key.parse().ok()).unwrap_or(0),
            };
            Some((prefix.parse().ok()?, entry))
        };
        let all: BTreeMap<IpNet, Entry> = entries.iter().filter_map(entry).collect();
        if all.is_empty() {
            return Err("its ipcache has no entry that could be read".to_owned());
        }
        Ok(Self(all))
    }

    /// The entry that an address has of its own.
    pub fn entry(&self, address: IpAddr) -> Option<Entry> {
        self.0.get(&IpNet::from(address)).copied()
    }

    /// The addresses with identities that pods have.
    pub fn pods(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        let single = self
            .0
            .iter()
            .filter(|(prefix, _)| prefix.prefix_len() == prefix.max_prefix_len());
        single
            .map(|(prefix, entry)| (prefix.addr(), entry.identity))
            .filter(|(_, identity)| (FIRST_OF_PODS..FIRST_LOCAL).contains(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_read_as_recorded() {
        let output = json!({
            "0.0.0.0/0": ["identity=2 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"],
            "10.244.1.121/32": ["identity=122312 encryptkey=255 tunnelendpoint=0.0.0.0 flags=<none>"],
            "10.244.1.8/32": ["identity=4 encryptkey=255 tunnelendpoint=0.0.0.0 flags=<none>"],
            "10.246.1.0/24": ["identity=2 encryptkey=255 tunnelendpoint=10.25.12.14 flags=hastunnel"],
            "10.246.2.248/32": ["identity=6 encryptkey=0 tunnelendpoint=10.25.12.15 flags=hastunnel,remotecluster"],
            "10.25.12.10/32": ["identity=16777217 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"],
        });
        let ipcache = Ipcache::read(&output).expect("as recorded");
        let entry = |address: &str| ipcache.entry(address.parse().unwrap());
        let own = Entry {
            identity: 122_312,
            tunnel: None,
            key: 255,
        };
        assert_eq!(entry("10.244.1.121"), Some(own));
        let remote = entry("10.246.2.248").expect("of another node");
        assert_eq!(remote.tunnel, Some("10.25.12.15".parse().unwrap()));
        assert_eq!(entry("10.246.1.7"), None, "a prefix is no entry of its own");
        let pods: Vec<_> = ipcache.pods().collect();
        assert_eq!(pods, [("10.244.1.121".parse().unwrap(), 122_312)]);
        for nothing in [json!(null), json!([]), json!({}), json!({"10.0.0.1/32": ["?"]})] {
            assert!(Ipcache::read(&nothing).is_err(), "{nothing}");
        }
    }
}
