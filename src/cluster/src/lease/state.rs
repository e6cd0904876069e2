//! What a Lease object means, and what is written into it. Pure but for the names of user and host.

use super::process;
use crate::name::{LEASE, NAMESPACE, run_labels};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use meshproof_contract::RunId;

/// Seconds after which a Lease that is not renewed counts as abandoned.
pub(crate) const DURATION: i32 = 40;

/// Annotation with the holder's process, see [`process`].
const PROCESS: &str = "meshproof.dev/process";

/// Who runs: `user@host, run <id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    person: String,
    run: RunId,
}

impl Holder {
    /// This process's user and host.
    pub fn current(run: &RunId) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
        let user = variable("USER")
            .or_else(|| variable("LOGNAME"))
            .unwrap_or_else(|| "unknown-user".to_owned());
        let host = ["/proc/sys/kernel/hostname", "/etc/hostname"]
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .or_else(|| variable("HOSTNAME"))
            .unwrap_or_else(|| "unknown-host".to_owned());
        Self {
            person: format!("{user}@{host}"),
            run: run.clone(),
        }
    }

    /// The text of `holderIdentity`.
    pub(crate) fn identity(&self) -> String {
        format!("{}, run {}", self.person, self.run)
    }

    /// Whether another holder's text names the same host, whose clock is ours.
    pub(super) fn is_same_host(&self, other: &str) -> bool {
        fn host(person: &str) -> Option<&str> {
            Some(person.split(", run ").next()?.split_once('@')?.1)
        }
        host(&self.person).is_some() && host(&self.person) == host(other)
    }
}

/// The state of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseState {
    Free,
    Live {
        holder: String,
        since: Timestamp,
        /// Seconds.
        expires_in: i64,
    },
    Expired {
        holder: String,
    },
}

impl LeaseState {
    pub(crate) fn of(lease: &Lease, now: Timestamp) -> Self {
        let Some(spec) = &lease.spec else {
            return LeaseState::Free;
        };
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if holder.is_empty() {
            return LeaseState::Free;
        }
        let Some(renewed) = spec.renew_time.as_ref().or(spec.acquire_time.as_ref()).map(|t| t.0) else {
            return LeaseState::Expired { holder };
        };
        let duration = spec.lease_duration_seconds.unwrap_or(DURATION);
        let ends = renewed + SignedDuration::from_secs(i64::from(duration));
        match ends.duration_since(now).as_secs() {
            expires_in if ends > now => LeaseState::Live {
                holder,
                since: since(lease),
                expires_in: expires_in + 1,
            },
            _ => LeaseState::Expired { holder },
        }
    }
}

impl LeaseState {
    /// A Lease whose holder is a dead process of this machine has expired, whatever its times say.
    pub(crate) fn unless_dead(self, lease: &Lease) -> Self {
        let mark = lease
            .metadata
            .annotations
            .iter()
            .flatten()
            .find(|(key, _)| *key == PROCESS);
        match self {
            LeaseState::Live { holder, .. } if mark.is_some_and(|(_, mark)| process::is_dead(mark)) => {
                LeaseState::Expired { holder }
            }
            other => other,
        }
    }
}

/// Since when it has been held.
pub(super) fn since(lease: &Lease) -> Timestamp {
    let spec = lease.spec.as_ref();
    let acquired = spec.and_then(|s| s.acquire_time.as_ref().or(s.renew_time.as_ref()));
    // Whole seconds: it is for people.
    let at = acquired.map(|t| t.0).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The Lease as this holder writes it, over the one found.
pub(crate) fn record(holder: &Holder, over: Option<&Lease>, now: Timestamp) -> Lease {
    let found = over.map(|lease| &lease.metadata);
    let transitions = over.and_then(|l| l.spec.as_ref()?.lease_transitions).unwrap_or(0);
    Lease {
        metadata: ObjectMeta {
            name: Some(LEASE.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(run_labels(&holder.run)),
            annotations: process::mark().map(|mark| [(PROCESS.to_owned(), mark)].into()),
            resource_version: found.and_then(|m| m.resource_version.clone()),
            uid: found.and_then(|m| m.uid.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.identity()),
            lease_duration_seconds: Some(DURATION),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions + i32::from(over.is_some())),
            ..LeaseSpec::default()
        }),
    }
}

/// The Lease with a new renew time.
pub(super) fn renewed(held: &Lease, now: Timestamp) -> Lease {
    let mut next = held.clone();
    next.metadata.managed_fields = None;
    if let Some(spec) = &mut next.spec {
        spec.renew_time = Some(MicroTime(now));
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(person: &str) -> Holder {
        Holder {
            person: person.to_owned(),
            run: "run-1".into(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    #[test]
    fn a_lease_is_live_until_its_duration_after_the_last_renewal() {
        let lease = record(&holder("alice@ci-7"), None, at(0));
        let lease = renewed(&lease, at(20));
        assert_eq!(
            LeaseState::of(&lease, at(40)),
            LeaseState::Live {
                holder: "alice@ci-7, run run-1".into(),
                since: at(0),
                expires_in: 21
            }
        );
        let expired = LeaseState::Expired {
            holder: "alice@ci-7, run run-1".into(),
        };
        assert_eq!(LeaseState::of(&lease, at(60)), expired);
        assert_eq!(LeaseState::of(&lease, at(5000)), expired);
    }

    #[test]
    fn a_released_or_empty_lease_is_free() {
        let mut lease = record(&holder("a@b"), None, at(0));
        lease.spec.as_mut().expect("spec").holder_identity = Some(String::new());
        assert_eq!(LeaseState::of(&lease, at(1)), LeaseState::Free);
        assert_eq!(LeaseState::of(&Lease::default(), at(1)), LeaseState::Free);
    }

    #[test]
    fn taking_over_keeps_the_version_that_was_judged() {
        let mut old = record(&holder("a@b"), None, at(0));
        old.metadata.resource_version = Some("7".into());
        let new = record(&holder("c@d"), Some(&old), at(99));
        assert_eq!(new.metadata.resource_version.as_deref(), Some("7"));
        let spec = new.spec.expect("spec");
        assert_eq!(spec.lease_transitions, Some(1));
        assert_eq!(spec.holder_identity.as_deref(), Some("c@d, run run-1"));
    }

    #[test]
    fn hosts_are_compared_not_users() {
        assert!(holder("alice@ci-7").is_same_host("bob@ci-7, run x"));
        assert!(!holder("alice@ci-7").is_same_host("alice@ci-8, run x"));
        assert!(!holder("alice@ci-7").is_same_host("somebody else"));
    }
}
