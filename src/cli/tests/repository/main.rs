//! What must hold for the files of the repository themselves: who imports whom, their sizes, their lines, their
//! dependencies.

mod architecture;
mod dependencies;
mod job;
mod kind;
mod layers;
mod module_circles;
mod sources;
mod stubs;
mod upgrade;
mod workflows;

use std::path::PathBuf;

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the root of the repository exists")
}
