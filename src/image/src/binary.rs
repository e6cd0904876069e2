//! Whether a file can be the only one of an image: an ELF program that needs no loader and no library (elf(5)). No I/O.

use oci_spec::image::Arch;
use std::fmt;

/// What a binary runs on, by the name that image configurations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        })
    }
}

impl From<Architecture> for Arch {
    fn from(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Amd64 => Arch::Amd64,
            Architecture::Arm64 => Arch::ARM64,
        }
    }
}

/// Why a file cannot be an image's only program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAgent {
    /// Not an ELF program of 64 bits.
    #[error("not a 64-bit little-endian ELF program for Linux")]
    NotElf,
    /// For a machine on which no cluster runs.
    #[error("unsupported ELF machine {0}: expected x86-64 (62) or AArch64 (183)")]
    Machine(u16),
    /// The file ends before its headers do.
    #[error("damaged ELF headers")]
    Damaged,
    /// It asks for a loader.
    #[error(
        "dynamically linked (loader {loader}), but the image holds only this binary: build it with RUSTFLAGS='-C \
         target-feature=+crt-static' and an explicit --target, as ci/image.sh does"
    )]
    Loader {
        /// `PT_INTERP`.
        loader: String,
    },
    /// It asks for libraries.
    #[error(
        "needs a shared library (DT_NEEDED), but the image holds only this binary: build it with RUSTFLAGS='-C \
         target-feature=+crt-static' and an explicit --target, as ci/image.sh does"
    )]
    Library,
}

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const ET_EXEC: u16 = 2;
/// A position-independent program is of this type too.
const ET_DYN: u16 = 3;

/// The architecture of a static program; the reason if it is none.
pub(crate) fn check(file: &[u8]) -> Result<Architecture, NotAnAgent> {
    // Class 2: 64 bits; data 1: little-endian.
    if file.len() < 64 || !file.starts_with(b"\x7fELF\x02\x01") || !matches!(half(file, 16)?, ET_EXEC | ET_DYN) {
        return Err(NotAnAgent::NotElf);
    }
    let architecture = match half(file, 18)? {
        62 => Architecture::Amd64,
        183 => Architecture::Arm64,
        other => return Err(NotAnAgent::Machine(other)),
    };
    let (start, size, count) = (long(file, 32)?, half(file, 54)?, half(file, 56)?);
    for number in 0..u64::from(count) {
        let at = offset(start, number * u64::from(size))?;
        let segment = file
            .get(at..)
            .filter(|rest| rest.len() >= 56)
            .ok_or(NotAnAgent::Damaged)?;
        let kind = u32::from(half(segment, 0)?) | u32::from(half(segment, 2)?) << 16;
        let content = || -> Result<&[u8], NotAnAgent> {
            let begin = offset(long(segment, 8)?, 0)?;
            let end = offset(long(segment, 8)?, long(segment, 32)?)?;
            file.get(begin..end).ok_or(NotAnAgent::Damaged)
        };
        match kind {
            PT_INTERP => {
                let loader = String::from_utf8_lossy(content()?);
                return Err(NotAnAgent::Loader {
                    loader: loader.trim_end_matches('\0').to_owned(),
                });
            }
            PT_DYNAMIC => {
                for entry in content()?.chunks_exact(16) {
                    match long(entry, 0)? {
                        DT_NULL => break,
                        DT_NEEDED => return Err(NotAnAgent::Library),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(architecture)
}

fn half(bytes: &[u8], at: usize) -> Result<u16, NotAnAgent> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map(|bytes| u16::from_le_bytes(*bytes)).ok_or(NotAnAgent::Damaged)
}

fn long(bytes: &[u8], at: usize) -> Result<u64, NotAnAgent> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or(NotAnAgent::Damaged)
}

fn offset(start: u64, further: u64) -> Result<usize, NotAnAgent> {
    let offset = start.checked_add(further).ok_or(NotAnAgent::Damaged)?;
    usize::try_from(offset).map_err(|_| NotAnAgent::Damaged)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A program of one segment.
    pub(crate) fn elf(machine: u16, kind: u32, content: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64 + 56, 0);
        file[16] = 3;
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72] = 120;
        file[96..104].copy_from_slice(&(content.len() as u64).to_le_bytes());
        file.extend(content);
        file
    }

    #[test]
    fn a_static_program_tells_its_architecture() {
        let relocations = [[7u64, 100], [DT_NULL, 0], [DT_NEEDED, 5]].concat();
        let dynamic: Vec<u8> = relocations.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(check(&elf(62, PT_DYNAMIC, &dynamic)), Ok(Architecture::Amd64));
        assert_eq!(check(&elf(183, 1, b"code")), Ok(Architecture::Arm64));
    }

    #[test]
    fn a_dynamic_program_is_refused_with_the_reason() {
        let error = check(&elf(62, PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0")).expect_err("refused");
        assert!(error.to_string().contains("/lib64/ld-linux-x86-64.so.2)"), "{error}");
        let needed: Vec<u8> = [DT_NEEDED, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(check(&elf(62, PT_DYNAMIC, &needed)), Err(NotAnAgent::Library));
    }

    #[test]
    fn other_files_are_refused_and_none_panics() {
        assert_eq!(check(b"#!/bin/sh\n"), Err(NotAnAgent::NotElf));
        assert_eq!(check(&elf(243, 1, b"")), Err(NotAnAgent::Machine(243)));
        let whole = elf(62, PT_INTERP, b"/lib/ld.so\0");
        for length in 0..whole.len() {
            assert!(check(&whole[..length]).is_err(), "cut to {length} bytes");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            let _ = check(&damaged);
        }
    }
}
