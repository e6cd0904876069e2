//! The switch without sockets: two of them, joined in memory.

mod flows;
mod histories;
mod net;
mod policy;
mod sockets;
