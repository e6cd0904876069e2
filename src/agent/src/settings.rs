//! What the pod gives its agent: environment variables, mostly from the downward API.

use meshproof_contract::{Identity, port};
use std::path::PathBuf;

/// An agent's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) identity: Identity,
    pub(crate) offset: u16,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) hosts: PathBuf,
}

/// A setting that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadOffset(String);

impl std::fmt::Display for BadOffset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "invalid MESHPROOF_PORT_OFFSET {:?}: expected a number from 0 to {} (it is added to ports {} to {})",
            self.0,
            u16::MAX - port::UDP,
            port::CONTROL,
            port::UDP
        )
    }
}

impl Settings {
    /// The settings in these variables. Absent names are empty: an agent started by hand still serves.
    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadOffset> {
        let text = |name: &str| variable(name).unwrap_or_default();
        let offset = match variable("MESHPROOF_PORT_OFFSET").filter(|offset| !offset.is_empty()) {
            None => 0,
            Some(offset) => match offset.parse::<u16>() {
                Ok(number) if number <= u16::MAX - port::UDP => number,
                _ => return Err(BadOffset(offset)),
            },
        };
        let path = |name: &str, default: &str| PathBuf::from(variable(name).unwrap_or_else(|| default.to_owned()));
        Ok(Self {
            identity: Identity {
                cluster: text("MESHPROOF_CLUSTER"),
                node: text("MESHPROOF_NODE"),
                namespace: text("MESHPROOF_NAMESPACE"),
                pod: text("MESHPROOF_POD"),
            },
            offset,
            resolv_conf: path("MESHPROOF_RESOLV_CONF", "/etc/resolv.conf"),
            hosts: path("MESHPROOF_HOSTS", "/etc/hosts"),
        })
    }

    pub(crate) fn from_environment() -> Result<Self, BadOffset> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// A well-known port of [`port`] as this agent uses it.
    pub(crate) fn port(&self, well_known: u16) -> u16 {
        well_known + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: &'static str) -> Result<u16, BadOffset> {
        Settings::from_variables(|name| (name == "MESHPROOF_PORT_OFFSET").then(|| value.to_owned())).map(|s| s.offset)
    }

    #[test]
    fn an_offset_beyond_the_last_port_is_refused() {
        assert_eq!(offset(""), Ok(0));
        assert_eq!(offset("20000"), Ok(20_000));
        assert!(offset("60000").is_err());
        assert!(offset("-1").is_err());
    }
}
