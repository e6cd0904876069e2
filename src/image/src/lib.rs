//! Images as archives that `ctr images import`, `kind load image-archive`, `podman load` and `docker load` take, and
//! pushed to registries.
//!
//! Made from static binaries without any container tool, and the same to the byte from the same binaries and
//! reference. An archive is an OCI image layout (image-spec 1.1, `image-layout.md`); that of one architecture is also
//! what `docker save` writes: `manifest.json` names the same blobs. This crate knows nothing about what the binaries
//! do.

mod archive;
mod binary;
#[cfg(feature = "push")]
mod push;
mod reference;

pub use binary::{Architecture, NotAnAgent};
#[cfg(feature = "push")]
pub use push::{Credentials, CredentialsError, PushError, Transport};
pub use reference::{ImageReference, InvalidReference};

use archive::Contents;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The name under which nodes know the probe image by default.
pub fn default_reference() -> String {
    Program::Agent.default_reference()
}

/// What runs in an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// The probe agent.
    #[default]
    Agent,
    /// The command itself, for a Job.
    Command,
}

impl Program {
    /// Its file in the image, which is also the entrypoint.
    pub fn name(self) -> &'static str {
        match self {
            Program::Agent => "meshproof-agent",
            Program::Command => "meshproof",
        }
    }
    /// The image's name by default, with the version as its tag.
    pub fn default_reference(self) -> String {
        let repository = match self {
            Program::Agent => "agent",
            Program::Command => "meshproof",
        };
        format!("meshproof.dev/{repository}:{}", env!("CARGO_PKG_VERSION"))
    }
    fn about(self) -> &'static str {
        match self {
            Program::Agent => "The probe agent of meshproof",
            Program::Command => "meshproof, to run as a Job",
        }
    }
}

/// An image, in memory.
pub struct Image {
    contents: Contents,
    reference: ImageReference,
    architectures: Vec<Architecture>,
}

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// The image's name as it was given.
    pub reference: String,
    /// Digest of its manifest or index, `sha256:…`: what registries call the image's digest.
    pub digest: String,
    /// What it runs on.
    pub architectures: Vec<Architecture>,
    /// Bytes of the compressed layers.
    pub compressed_size: u64,
}

/// Why no image was made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A binary cannot be read.
    #[error("failed to read the binary {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The binary would not run in an image that holds nothing else.
    #[error("{path} cannot run in an image of its own: {source}")]
    Binary {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: NotAnAgent,
    },
    /// Two binaries for one architecture.
    #[error("{first} and {second} are both for {architecture}: give one binary for each architecture")]
    SameArchitecture {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// What both run on.
        architecture: Architecture,
    },
    /// The image's name is invalid.
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

impl Image {
    /// The image of a program under the name `reference`, from one static binary for each architecture. Several make
    /// an index, of which nodes take what fits them.
    ///
    /// # Errors
    /// A binary is missing, not static, or of the same architecture as another one; or the name is invalid.
    ///
    /// # Panics
    /// Without any binary.
    pub fn build(program: Program, binaries: &[PathBuf], reference: &str) -> Result<Self, ImageError> {
        assert!(!binaries.is_empty(), "an image needs a binary");
        let reference: ImageReference = reference.parse()?;
        let mut contents: Vec<(Architecture, Vec<u8>)> = Vec::new();
        for path in binaries {
            let binary = std::fs::read(path).map_err(|source| ImageError::Read {
                path: path.clone(),
                source,
            })?;
            let architecture = binary::check(&binary).map_err(|source| ImageError::Binary {
                path: path.clone(),
                source,
            })?;
            if let Some(first) = contents.iter().position(|(other, _)| *other == architecture) {
                return Err(ImageError::SameArchitecture {
                    first: binaries[first].clone(),
                    second: path.clone(),
                    architecture,
                });
            }
            contents.push((architecture, binary));
        }
        let architectures = contents.iter().map(|(architecture, _)| *architecture).collect();
        Ok(Self {
            contents: archive::assemble(program, &contents).map_err(ImageError::Assemble)?,
            reference,
            architectures,
        })
    }

    /// Writes it to the file `output`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, output: &Path) -> Result<(), ImageError> {
        let archive = self.contents.archive(&self.reference).map_err(ImageError::Assemble)?;
        std::fs::write(output, archive).map_err(|source| ImageError::Write {
            path: output.to_owned(),
            source,
        })
    }

    /// What it is.
    pub fn summary(&self) -> ImageSummary {
        ImageSummary {
            reference: self.reference.to_string(),
            digest: self.contents.digest(),
            architectures: self.architectures.clone(),
            compressed_size: self.contents.compressed_size,
        }
    }
}
