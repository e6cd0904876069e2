//! The event log as it grows: one line an event, handed to the kernel at once, so that a killed run loses none.

use super::FolderError;
use meshproof_contract::EventRecord;
use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

/// `events.ndjson`, open for appending.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
}

impl EventLog {
    /// Its name in the run's folder.
    pub const FILE: &str = "events.ndjson";

    pub(super) fn open(path: PathBuf) -> Result<Self, FolderError> {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| {
                let length = file.seek(SeekFrom::End(0))?;
                Ok((file, length))
            });
        match opened {
            Ok((file, length)) => Ok(Self { path, file, length }),
            Err(source) => Err(FolderError::Write { path, source }),
        }
    }

    /// Appends one event.
    ///
    /// # Errors
    /// It cannot be written, such as on a full disk; half a line is taken back, so that the log stays readable and the
    /// next event can be tried.
    pub fn handle(&mut self, event: &EventRecord) -> Result<(), FolderError> {
        let mut line = serde_json::to_vec(event)
            .map_err(io::Error::from)
            .map_err(|source| self.failed(source))?;
        line.push(b'\n');
        match self.file.write_all(&line) {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(source) => {
                if let Err(error) = self.file.set_len(self.length) {
                    return Err(self.failed(error));
                }
                Err(self.failed(source))
            }
        }
    }

    fn failed(&self, source: io::Error) -> FolderError {
        FolderError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, log::read_log};

    #[test]
    fn every_line_is_there_as_soon_as_it_is_handled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EventLog::FILE);
        let mut log = EventLog::open(path.clone()).unwrap();
        for (number, event) in fixture::mixed().iter().enumerate() {
            log.handle(event).unwrap();
            assert_eq!(read_log(&path).unwrap().len(), number + 1);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_with_a_next_step() {
        let mut log = EventLog::open("/dev/full".into()).unwrap();
        let error = log.handle(&fixture::mixed()[0]).expect_err("full").to_string();
        assert!(error.starts_with("failed to write /dev/full: "), "{error}");
    }
}
