//! Files that are whole or not there: written beside, then renamed.

use super::FolderError;
use std::{fs, path::Path};

/// Writes the file, replacing an older one in one step.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("report");
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| {
            // Of the two errors the first is the one to report; a leftover is hidden and harmless.
            let _ = fs::remove_file(&temporary);
            FolderError::Write {
                path: path.to_owned(),
                source,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_cannot_be_replaced_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("report.json");
        fs::create_dir(&target).unwrap();
        let error = write(&target, b"{}").expect_err("a folder is in the way").to_string();
        assert!(
            error.starts_with("failed to write") && error.contains("meshproof report"),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
