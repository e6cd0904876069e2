//! The probe image, as an archive that `ctr images import`, `kind load image-archive`, `podman load` and `docker load`
//! take.
//!
//! Made from a static agent binary without any container tool, and the same to the byte from the same binary and
//! reference. The archive is both an OCI image layout (image-spec 1.1, `image-layout.md`) and what `docker save`
//! writes: `manifest.json` names the same blobs. This crate knows nothing about what the binary does.

mod archive;
mod binary;
mod reference;

pub use binary::{Architecture, NotAnAgent};
pub use reference::{ImageReference, InvalidReference};

use std::{
    io,
    path::{Path, PathBuf},
};

/// The name under which nodes know the probe image by default.
pub fn default_reference() -> String {
    format!("meshproof.dev/agent:{}", env!("CARGO_PKG_VERSION"))
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// The image's name as it was given.
    pub reference: String,
    /// Digest of the image's manifest, `sha256:…`: what registries and nodes call the image's digest.
    pub digest: String,
    /// What it runs on.
    pub architecture: Architecture,
    /// Bytes of the compressed layer.
    pub compressed_size: u64,
}

/// Why no image was written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The agent's binary cannot be read.
    #[error("failed to read the agent binary {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The binary would not run in an image that holds nothing else.
    #[error("{path} cannot run as the agent of an image: {source}")]
    Binary {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: NotAnAgent,
    },
    /// The image's name is none.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// The archive cannot be put together.
    #[error("failed to build the image: {0}")]
    Assemble(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The archive cannot be written.
    #[error("failed to write {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes the image of the agent in `agent_binary` under the name `reference` to the file `output`.
pub fn write(agent_binary: &Path, output: &Path, reference: &str) -> Result<ImageSummary, ImageError> {
    let reference: ImageReference = reference.parse()?;
    let agent = std::fs::read(agent_binary).map_err(|source| ImageError::Read {
        path: agent_binary.to_owned(),
        source,
    })?;
    let architecture = binary::check(&agent).map_err(|source| ImageError::Binary {
        path: agent_binary.to_owned(),
        source,
    })?;
    let (archive, summary) = archive::assemble(&agent, architecture, &reference)?;
    std::fs::write(output, archive).map_err(|source| ImageError::Write {
        path: output.to_owned(),
        source,
    })?;
    Ok(summary)
}
