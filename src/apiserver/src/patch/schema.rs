//! The shape of built-in types.
