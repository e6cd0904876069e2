//! Where faults act whose place is drawn: a node, drawn anew at each injection, and what they hit there, drawn from
//! what is there and kept as long as it stays.

use crate::{fault::Fault, sync::lock};
use std::{collections::BTreeMap, sync::Mutex};

/// A node, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its cluster.
    pub(crate) cluster: String,
    /// Its name.
    pub(crate) node: String,
}

/// The draws of the faults in force.
#[derive(Debug, Default)]
pub(crate) struct Drawn(Mutex<BTreeMap<Fault, Draw>>);

#[derive(Debug)]
struct Draw {
    place: Place,
    victim: Option<String>,
}

impl Drawn {
    /// Draws a place; none where there is nothing to draw from.
    pub(crate) fn draw(&self, fault: Fault, places: &[Place]) -> Option<Place> {
        let place = pick(places)?.clone();
        let draw = Draw {
            place: place.clone(),
            victim: None,
        };
        lock(&self.0).insert(fault, draw);
        Some(place)
    }

    /// Where the fault acts; none if it has no drawn place.
    pub(crate) fn place(&self, fault: Fault) -> Option<Place> {
        lock(&self.0).get(&fault).map(|draw| draw.place.clone())
    }

    /// Which of these the fault hits: the one that it hit before if that is still there, else one that is drawn.
    pub(crate) fn victim(&self, fault: Fault, candidates: &[String]) -> Option<String> {
        let mut draws = lock(&self.0);
        let draw = draws.get_mut(&fault)?;
        if draw.victim.as_ref().is_none_or(|victim| !candidates.contains(victim)) {
            draw.victim = pick(candidates).cloned();
            if let Some(victim) = &draw.victim {
                let Place { cluster, node } = &draw.place;
                tracing::info!(%fault, cluster, node, victim, "drawn");
            }
        }
        draw.victim.clone()
    }
}

fn pick<T>(all: &[T]) -> Option<&T> {
    (!all.is_empty()).then(|| &all[rand::random_range(0..all.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: Fault = Fault::ServiceBackendDeadOnNode;

    #[test]
    fn a_victim_is_kept_as_long_as_it_is_there() {
        let drawn = Drawn::default();
        let all: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(drawn.victim(FAULT, &all), None, "nothing was drawn");
        let place = |node: &str| Place {
            cluster: "infra".to_owned(),
            node: node.to_owned(),
        };
        let places = [place("infra-1"), place("infra-2")];
        assert_eq!(drawn.draw(FAULT, &[]), None);
        let seen: std::collections::BTreeSet<_> =
            (0..64).filter_map(|_| Some(drawn.draw(FAULT, &places)?.node)).collect();
        assert_eq!(seen.len(), 2, "every place is drawn");
        let first = drawn.victim(FAULT, &all).expect("one of fifty");
        assert_eq!(drawn.victim(FAULT, &all).as_ref(), Some(&first));
        let others: Vec<String> = all.into_iter().filter(|one| *one != first).collect();
        assert_ne!(drawn.victim(FAULT, &others), Some(first));
    }
}
