//! `latest`: which run is the newest. A symbolic link, or where those cannot be made a text file with the run's name.

use super::{FolderError, atomic};
use std::{fs, io, path::Path};

/// Lets `latest` beside the run's folder name it. Replaced in one step, so that two runs that start together leave one
/// of the two there, and never nothing.
pub(super) fn point(run: &Path) -> Result<(), FolderError> {
    let path = run.with_file_name("latest");
    let failed = |source| FolderError::Latest {
        path: path.clone(),
        source,
    };
    let name = run
        .file_name()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let text = name.to_string_lossy();
    let temporary = run.with_file_name(format!(".latest.{text}.{}", std::process::id()));
    match link(Path::new(name), &temporary) {
        Ok(()) => fs::rename(&temporary, &path).map_err(|source| {
            // The rename's error is the one to report; a leftover is hidden and harmless.
            let _ = fs::remove_file(&temporary);
            failed(source)
        }),
        Err(_) => atomic::write(&path, format!("{text}\n").as_bytes()),
    }
}

#[cfg(unix)]
fn link(target: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn racing_runs_never_leave_it_absent() {
        let reports = tempfile::tempdir().unwrap();
        let run = |n: usize| reports.path().join(format!("run-{n}"));
        (0..4).for_each(|n| fs::create_dir(run(n)).unwrap());
        point(&run(0)).unwrap();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let run = run(n);
                scope.spawn(move || (0..200).for_each(|_| point(&run).unwrap()));
            }
            for _ in 0..500 {
                let target = fs::read_link(reports.path().join("latest")).expect("never absent");
                assert!(target.to_string_lossy().starts_with("run-"), "{target:?}");
            }
        });
        assert_eq!(
            fs::read_dir(reports.path()).unwrap().count(),
            5,
            "no temporary link is left"
        );
    }

    #[test]
    fn a_folder_of_that_name_is_not_removed() {
        let reports = tempfile::tempdir().unwrap();
        let run = reports.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::create_dir(reports.path().join("latest")).unwrap();
        let error = point(&run).expect_err("in the way").to_string();
        assert!(error.contains("latest") && error.contains("remove it"), "{error}");
        assert_eq!(fs::read_dir(reports.path()).unwrap().count(), 2);
    }
}
