//! docs/configuration.md
