//! Faults that the lab can inject: the [catalogue] as data, and which of them are in force. It does not know what a
//! fault does: faults of the data path and of nodes are put there by `injection`, all others act in a module that looks
//! whether they are in force.

mod active;
mod catalogue;
mod layer;
mod place;
mod size;

pub use active::{ActiveFaults, FaultState};
pub use catalogue::{CATALOGUE, Fault, FaultSpec};
pub use layer::{Layer, Scope};
pub use place::PlaceSeed;
pub use size::{Amount, SIZES, SizedFault, UnknownFault, figures};

#[cfg(test)]
mod tests;
