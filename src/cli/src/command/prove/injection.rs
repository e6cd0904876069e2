//! What one row of the matrix injects: a fault, at a size where it has one, or every fault that has a size below what
//! is promised. Pure.

use super::{
    matrix::Expected,
    selection::{checks_concerned, checks_that_name},
};
use crate::session::fault::{FaultSpec, SIZES};
use meshproof_contract::{CheckId, FaultName};
use std::collections::BTreeSet;

/// The row that injects every fault that has a size.
const ALL_SIZES: &str = "all-sizes";

/// What one row of the matrix injects.
#[derive(Clone, Debug)]
pub struct Injection {
    /// One fault, or several small ones.
    pub faults: Vec<FaultSpec>,
    /// Their size, where they have one.
    pub size: Option<f64>,
    /// Whether checks must notice it.
    pub expected: Expected,
}

/// Which sizes are injected of faults that have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// One that must be noticed, drawn by this seed, and all of them together at the one that must not.
    Drawn(u64),
    /// Each by itself at each size.
    Each,
}

/// The rows for these faults; those that tell of small sizes first, since they take longest.
pub fn injections(faults: &[FaultSpec], sizes: Sizes) -> Vec<Injection> {
    let [small, large @ ..] = SIZES;
    let (sized, plain): (Vec<FaultSpec>, Vec<FaultSpec>) = faults.iter().partition(|fault| fault.has_size());
    let mut rows = Vec::new();
    match sizes {
        Sizes::Drawn(_) if sized.is_empty() => {}
        Sizes::Drawn(_) => rows.push(unnoticed(sized.clone(), small)),
        Sizes::Each => rows.extend(sized.iter().map(|fault| unnoticed(vec![*fault], small))),
    }
    for (position, fault) in sized.iter().enumerate() {
        let noticed = |size: f64| Injection {
            faults: vec![*fault],
            size: Some(size),
            expected: Expected::Noticed,
        };
        match sizes {
            Sizes::Drawn(seed) => {
                let drawn = seed.wrapping_add(position as u64) % large.len() as u64;
                rows.push(noticed(large[usize::try_from(drawn).unwrap_or_default()]));
            }
            Sizes::Each => rows.extend(large.map(noticed)),
        }
    }
    rows.extend(plain.into_iter().map(|fault| Injection {
        faults: vec![fault],
        size: None,
        expected: Expected::Noticed,
    }));
    rows
}

fn unnoticed(faults: Vec<FaultSpec>, size: f64) -> Injection {
    Injection {
        faults,
        size: Some(size),
        expected: Expected::Unnoticed,
    }
}

impl Injection {
    /// Its name in the matrix, and, of a single fault, to the lab.
    pub fn name(&self) -> FaultName {
        let name = match self.faults.as_slice() {
            [fault] => fault.name,
            _ => ALL_SIZES,
        };
        sized(name, self.size).as_str().into()
    }

    /// The faults by the names that the lab injects and heals.
    pub fn orders(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|fault| sized(fault.name, self.size))
    }

    /// What is wrong meanwhile, in one line.
    pub fn summary(&self) -> String {
        match self.faults.as_slice() {
            [fault] => fault.told(self.size),
            faults => {
                let faults: Vec<String> = faults.iter().map(|fault| fault.told(self.size)).collect();
                format!(
                    "all of these at once, which is within what is promised: {}",
                    faults.join("; ")
                )
            }
        }
    }

    /// The checks that name one of its faults.
    pub fn checks_that_name(&self) -> BTreeSet<CheckId> {
        self.faults.iter().flat_map(checks_that_name).collect()
    }

    /// The checks that meet it.
    pub fn checks(&self) -> BTreeSet<CheckId> {
        self.faults.iter().flat_map(checks_concerned).collect()
    }
}

/// A name with its size, as the lab reads it.
fn sized(name: &str, size: Option<f64>) -> String {
    match size {
        Some(size) => format!("{name}@{size}"),
        None => name.to_owned(),
    }
}

/// Whether the row of this name injects every fault that has a size.
pub fn is_all_sizes(row: &FaultName) -> bool {
    let name = row.as_str().split_once('@').map(|(name, _)| name);
    name == Some(ALL_SIZES)
}

#[cfg(all(test, feature = "lab", target_os = "linux"))]
mod tests {
    use super::*;
    use crate::session::lab::Lab;

    fn some() -> Vec<FaultSpec> {
        let wanted = ["dns-slow", "loss-mesh", "udp-dropped"];
        let all = Lab::faults().expect("a build with the lab");
        all.into_iter().filter(|fault| wanted.contains(&fault.name)).collect()
    }

    fn names(sizes: Sizes) -> Vec<String> {
        injections(&some(), sizes)
            .iter()
            .map(|row| row.name().to_string())
            .collect()
    }

    #[test]
    fn a_fault_with_a_size_has_one_that_is_drawn_and_shares_the_row_that_must_stay_green() {
        let of = |seed| names(Sizes::Drawn(seed));
        assert_eq!(of(0), ["all-sizes@0.5", "dns-slow@1.5", "loss-mesh@3", "udp-dropped"]);
        assert_eq!(of(1), ["all-sizes@0.5", "dns-slow@3", "loss-mesh@1.5", "udp-dropped"]);
    }

    #[test]
    fn each_size_can_have_a_row_of_its_own() {
        let all = names(Sizes::Each);
        assert_eq!(all.len(), 2 * 3 + 1);
        assert!(all.contains(&"dns-slow@0.5".to_owned()), "{all:?}");
        let rows = injections(&some(), Sizes::Each);
        assert!(
            rows.iter()
                .all(|row| (row.expected == Expected::Unnoticed) == (row.size == Some(0.5)))
        );
    }

    #[test]
    fn a_row_tells_how_much() {
        let rows = injections(&some(), Sizes::Drawn(1));
        assert_eq!(rows[1].summary(), "in one cluster DNS answers late: 300 ms");
        assert_eq!(rows[0].orders().collect::<Vec<_>>(), ["dns-slow@0.5", "loss-mesh@0.5"]);
    }
}
