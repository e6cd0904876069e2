//! What real Cilium 1.18.3 shows of a cluster: the objects that it installs and writes, and what its commands print on
//! exec, derived from the lab's true state with the shapes of recorded outputs.
//!
//! Views are pure functions of a [`view::AgentView`]; what gathers it, what runs in Cilium's pods and what parses
//! command lines is around them. It enforces nothing and moves no packet: the data path does.

mod addon;
mod agent;
mod command;
mod config;
mod gather;
mod ghost;
mod health;
mod install;
mod mesh_command;
mod object;
mod operator;
mod output;
mod pods;
#[cfg(test)]
mod shape;
pub mod time;
mod troubleshoot;
pub mod view;

pub use addon::CiliumAddon;
pub(crate) use agent::HUBBLE_PORT;
pub use config::data as cilium_config;
pub(crate) use health::PORT as HEALTH_PORT;
pub use install::values::of as helm_values;
pub(crate) use install::{
    expiring_certificate,
    release::{opened as opened_release, sealed as sealed_release},
};
