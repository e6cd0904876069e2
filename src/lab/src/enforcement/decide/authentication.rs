//! Which authentication mode counts: that of the entry that wins, which without one of its own takes it over
//! (`pkg/policy/mapstate.go`, `bpf/lib/policy.h`).

use super::peering::Entry;
use crate::enforcement::rule::{Authentication, Layer7};

/// How strongly an entry redirects, and how many bits it fixes: the greater wins.
type Rank = (u8, u32);

/// What one look-up found: its rank, its mode, and whether the mode is its own.
type Found = (Rank, Authentication, bool);

/// The mode of a flow to which these entries apply. The local host has one entry more, for everything and without a
/// mode.
pub(super) fn mode(entries: &[Entry<'_>], from_host: bool) -> Authentication {
    let named = looked_up(entries.iter().filter(|entry| entry.named), from_host);
    let anybody = looked_up(entries.iter().filter(|entry| entry.anybody), false);
    let (winner, other) = match (named, anybody) {
        (Some(named), Some(anybody)) if anybody.0 > named.0 => (anybody, Some(named)),
        (Some(named), anybody) => (named, anybody),
        (None, Some(anybody)) => (anybody, None),
        (None, None) => return Authentication::Disabled,
    };
    match (winner, other) {
        ((_, own, true), _) | ((_, own, false), None) => own,
        ((_, inherited, false), Some((_, other, _))) => inherited.max(other),
    }
}

fn looked_up<'e, 'c: 'e>(entries: impl Iterator<Item = &'e Entry<'c>>, from_host: bool) -> Option<Found> {
    let mut all: Vec<(Rank, Option<Authentication>)> = entries
        .map(|entry| ((redirect(entry.layer7), entry.prefix), entry.clause.authentication))
        .collect();
    if from_host {
        all.push(((0, 0), None));
    }
    let winner = all.iter().map(|(rank, _)| *rank).max()?;
    // The narrowest of those that say something and are not narrower; of equal ones the strictest.
    let broader = all.iter().filter(|((_, prefix), _)| *prefix <= winner.1);
    let said = broader
        .filter_map(|((_, prefix), mode)| Some((*prefix, (*mode)?)))
        .max();
    Some(match said {
        Some((prefix, mode)) => (winner, mode, prefix == winner.1),
        None => (winner, Authentication::Disabled, false),
    })
}

fn redirect(layer7: Option<&Layer7>) -> u8 {
    match layer7 {
        None => 0,
        Some(Layer7::Dns(_)) => 1,
        Some(Layer7::Http(_)) => 2,
    }
}
