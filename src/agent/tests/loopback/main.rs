//! Agents as real processes on loopback addresses, driven through their control port: every outcome that loopback can
//! produce.

mod agent;
mod capture;
mod dns;
mod far_side;
mod garbage;
mod http;
mod limits;
mod mtu;
mod process;
mod relay;
mod series;
mod stream;
mod tcp;
mod udp;
