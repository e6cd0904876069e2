//! The fixed cases, by what they are about. Each is a policy as an operator would write it, and the cells around it.

pub mod authentication;
pub mod clusters;
pub mod deny;
pub mod empty;
pub mod entities;
pub mod http;
pub mod kinds;
pub mod names;
pub mod outside;
pub mod peers;
pub mod ports;

use super::actor::Actor;
use super::cell::{Ask, Cell, GET};
use super::scene::Scene;
use std::sync::Arc;

/// TCP, HTTP and UDP.
pub const PLAIN: [Ask; 3] = [GET, Ask::Tcp, Ask::Udp];
/// These and ICMP.
pub const ALL: [Ask; 4] = [GET, Ask::Tcp, Ask::Udp, Ask::Ping];

/// Neighbours ask the ward.
pub fn inbound(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    Scene::cells(others, &scene.wards, &PLAIN)
}

/// The ward asks its neighbours.
pub fn outbound(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    Scene::cells(&scene.wards, others, &PLAIN)
}

/// Both ways.
pub fn both_ways(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    let mut cells = inbound(scene, others);
    cells.extend(outbound(scene, others));
    cells
}

/// Both ways, ICMP too.
pub fn both_ways_and_ping(scene: &Scene, others: &[Arc<Actor>]) -> Vec<Cell> {
    let mut cells = Scene::cells(others, &scene.wards, &ALL);
    cells.extend(Scene::cells(&scene.wards, others, &ALL));
    cells
}

/// The namespace of neighbours that is not the ward's.
pub fn other_namespace(scene: &Scene) -> String {
    let others = scene.others.iter().map(|actor| actor.agent.namespace.as_str());
    let mut different = others.filter(|namespace| *namespace != scene.namespace);
    different.next().unwrap_or("meshproof-peer").to_owned()
}
