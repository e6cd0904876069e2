//! The entry point of the fuzz target `dns`.

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

use crate::resolver::{ResolvConf, SearchWalk, hosts_addresses, reply_to};
use hickory_proto::rr::{Name, RecordType};
use meshproof_contract::DnsAnswer;

/// The name that the corpus's responses answer.
const NAME: &str = "echo.meshproof.svc.cluster.local.";

/// Any bytes as a DNS server's response, as `resolv.conf` and as `hosts`: names in answers are absolute, and a walk
/// through search domains ends.
///
/// # Panics
/// When it does not hold.
pub fn dns(bytes: &[u8]) {
    let name = Name::from_ascii(NAME).expect("the constant is a name");
    let records = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::PTR,
        RecordType::CNAME,
        RecordType::SRV,
    ];
    for record in records {
        let Some(reply) = reply_to(&name, record, bytes) else {
            continue;
        };
        for answer in &reply.answers {
            match answer {
                DnsAnswer::Name(name) | DnsAnswer::Service { target: name, .. } => {
                    assert!(name.ends_with('.'), "{name}")
                }
                DnsAnswer::Address(address) => assert_eq!(address.is_ipv6(), record == RecordType::AAAA),
            }
        }
    }
    let text = String::from_utf8_lossy(bytes);
    hosts_addresses(&text, "localhost");
    let Ok(config) = ResolvConf::parse(bytes) else { return };
    assert!(config.ndots <= 15 && (1..=5).contains(&config.attempts));
    for name in text.split_whitespace() {
        let Some(mut walk) = SearchWalk::new(name, &config) else {
            continue;
        };
        let tried = std::iter::from_fn(|| walk.next_name()).inspect(|name| assert!(name.is_fqdn(), "{name}"));
        assert!(tried.count() <= config.search.len() + 1);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_and_its_mutations() {
        super::replay::replay("dns", 20_000, super::dns);
    }
}
