//! The probe agent as a program of its own, for the image.
fn main() {}
