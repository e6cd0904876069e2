//! To come.

pub const CASES: &[(&str, fn())] = &[];
