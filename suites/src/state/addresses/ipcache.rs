//! What `cilium-dbg bpf ipcache list -o json` prints: a text for each prefix.

use ipnet::IpNet;
use serde_json::Value;
use std::{collections::BTreeMap, net::IpAddr};

/// Identities below are reserved (`pkg/identity`): host, world, health, remote-node and the like.
const FIRST_OF_PODS: u64 = 256;
/// Identities from here on are the agent's own, of CIDRs and nodes.
const FIRST_LOCAL: u64 = 1 << 24;

/// The identity of each prefix.
pub struct Ipcache(BTreeMap<IpNet, u64>);

impl Ipcache {
    /// Reads the output.
    ///
    /// # Errors
    /// When it is none, or has no entry: every node knows at least itself.
    pub fn read(output: &Value) -> Result<Self, String> {
        let entries = output.as_object().ok_or("its ipcache is not a JSON object")?;
        let entry = |(prefix, texts): (&String, &Value)| {
            let text = texts.as_array()?.first()?.as_str()?;
            let identity = text
                .split_whitespace()
                .find_map(|part| part.strip_prefix("identity="))?;
            Some((prefix.parse().ok()?, identity.parse().ok()?))
        };
        let all: BTreeMap<IpNet, u64> = entries.iter().filter_map(entry).collect();
        if all.is_empty() {
            return Err("its ipcache has no entry that could be read".to_owned());
        }
        Ok(Self(all))
    }

    /// The identity of an address by an entry of its own.
    pub fn identity(&self, address: IpAddr) -> Option<u64> {
        self.0.get(&IpNet::from(address)).copied()
    }

    /// The addresses with identities that pods have.
    pub fn pods(&self) -> impl Iterator<Item = (IpAddr, u64)> {
        let single = self
            .0
            .iter()
            .filter(|(prefix, _)| prefix.prefix_len() == prefix.max_prefix_len());
        single
            .map(|(prefix, identity)| (prefix.addr(), *identity))
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
            "10.25.12.10/32": ["identity=16777217 encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>"],
        });
        let ipcache = Ipcache::read(&output).expect("as recorded");
        assert_eq!(ipcache.identity("10.244.1.121".parse().unwrap()), Some(122_312));
        assert_eq!(
            ipcache.identity("10.246.1.7".parse().unwrap()),
            None,
            "a prefix is no entry of its own"
        );
        let pods: Vec<_> = ipcache.pods().collect();
        assert_eq!(pods, [("10.244.1.121".parse().unwrap(), 122_312)]);
        for nothing in [json!(null), json!([]), json!({}), json!({"10.0.0.1/32": ["?"]})] {
            assert!(Ipcache::read(&nothing).is_err(), "{nothing}");
        }
    }
}
