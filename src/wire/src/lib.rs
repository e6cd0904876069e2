//! The protocol between harness and agent: frames of JSON over one byte stream (a port-forward, or stdin and stdout of
//! an exec).
//!
//! The agent speaks first with [`Hello`]; then the harness sends [`Request`]s and the agent answers each with a
//! [`Response`] of the same id, in any order. A frame is a 4-byte big-endian length and that many bytes of JSON.

mod frame;
#[doc(hidden)]
pub mod fuzz;
mod message;

pub use frame::{FrameError, MAX_FRAME, decode, encode, read_body, read_frame, write_frame};
pub use message::{Answer, Command, Hello, PROTOCOL, Request, Response};
