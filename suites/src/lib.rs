//! The checks of meshproof, suite by suite.
