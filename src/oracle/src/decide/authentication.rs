//! Which authentication mode a packet meets (semantics A8, A16; pkg/policy/mapstate.go, bpf/lib/policy.h).

use super::matching::Match;
use crate::model::{Authentication, L7};

/// One entry of the policy map that is about the packet.
#[derive(Clone, Copy)]
struct Entry {
    /// Whether it names the peer's identity, or anybody.
    named: bool,
    /// Whether a proxy gets the packet; the stronger redirect wins.
    redirect: u8,
    /// Length of the prefix over protocol and port, in bits.
    prefix: u8,
    mode: Option<Authentication>,
}

/// What one of the two look-ups finds.
#[derive(Clone, Copy)]
struct Found {
    redirect: u8,
    prefix: u8,
    mode: Authentication,
    explicit: bool,
}

/// The mode of the rules that match a packet. The local host's automatic allow is one more entry, for every port and
/// without a mode.
pub(super) fn mode(matching: &[Match<'_>], from_local_host: bool) -> Authentication {
    let mut entries: Vec<Entry> = matching.iter().flat_map(entries).collect();
    if from_local_host {
        entries.push(Entry {
            named: true,
            redirect: 0,
            prefix: 0,
            mode: None,
        });
    }
    let (chosen, other) = match (found(&entries, true), found(&entries, false)) {
        (None, None) => return Authentication::Disabled,
        (Some(only), None) | (None, Some(only)) => return only.mode,
        (Some(named), Some(any)) if (any.redirect, any.prefix) > (named.redirect, named.prefix) => (any, named),
        (Some(named), Some(any)) => (named, any),
    };
    if chosen.explicit {
        chosen.mode
    } else {
        chosen.mode.max(other.mode)
    }
}

fn entries(matching: &Match<'_>) -> Vec<Entry> {
    let entry = |named| Entry {
        named,
        redirect: match matching.l7() {
            L7::None => 0,
            L7::Dns(_) => 1,
            L7::Http(_) => 2,
        },
        prefix: matching.prefix,
        mode: matching.rule.authentication,
    };
    let lookups = [
        matching.peer.named.then(|| entry(true)),
        matching.peer.anybody.then(|| entry(false)),
    ];
    lookups.into_iter().flatten().collect()
}

/// The entry that wins among those of one look-up; without a mode of its own it has the one of the next broader entry
/// that has one. Of equal entries the stricter mode counts.
fn found(entries: &[Entry], named: bool) -> Option<Found> {
    let of_lookup = || entries.iter().filter(|entry| entry.named == named);
    let winner = of_lookup().max_by_key(|entry| (entry.redirect, entry.prefix))?;
    let stated = of_lookup().filter(|entry| entry.prefix <= winner.prefix);
    let stated = stated.filter_map(|entry| Some((entry.prefix, entry.mode?))).max();
    Some(Found {
        redirect: winner.redirect,
        prefix: winner.prefix,
        mode: stated.map_or(Authentication::Disabled, |(_, mode)| mode),
        explicit: stated.is_some_and(|(prefix, _)| prefix == winner.prefix),
    })
}
