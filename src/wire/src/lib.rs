//! The protocol between harness and agent: messages, framing, version.
