//! What suites are made of: matrices of probes, waiting, commands to run next, and Cilium's, DNS's and the API's views.
//!
//! The kit knows the contract and no suite.

pub mod availability;
pub mod cilium;
pub mod cpu_pressure;
pub mod dns;
pub mod flow;
pub mod image;
pub mod known_fault;
pub mod matrix;
pub mod needs;
pub mod next_steps;
pub mod object;
pub mod observers;
pub mod once;
pub mod path_check;
pub mod paths;
pub mod probes;
pub mod recent;
pub mod spacing;
pub mod unique_name;
pub mod version;
pub mod wait;
