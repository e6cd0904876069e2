//! The live view of a run's events in a terminal, and plain lines elsewhere.
