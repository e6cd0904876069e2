//! The switch. Placeholder until it lands.
