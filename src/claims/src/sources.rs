//! The repository's files: found, read side by side, and split into the documents that matter here.

mod document;
mod trim;
mod walk;

pub use document::{Document, Workload};

use crate::{
    place::{FileId, Place},
    yaml::{Duplicate, Malformed, Node},
};
use document::Contents;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// The repository cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A folder that is not there or not readable.
    #[error("failed to read the folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that the command line or meshproof.yaml names.
    #[error("failed to read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Something about a file that the user should know and that is no mistake: why it was not read, or what was assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub file: FileId,
    /// What.
    pub what: String,
}

/// The files of a repository with the documents in them.
#[derive(Debug, Default)]
pub struct Sources {
    root: PathBuf,
    paths: Vec<String>,
    /// How many of the paths were found by walking, and are sorted.
    walked: usize,
    /// The documents, in the order of the files.
    pub documents: Vec<Document>,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// Documents that are not YAML.
    pub malformed: Vec<Malformed>,
    /// Keys written twice.
    pub duplicates: Vec<Duplicate>,
    /// What was not read, and why.
    pub notes: Vec<Note>,
}

impl Sources {
    /// Reads the YAML files below a folder. Hidden folders, `node_modules` and symbolic links are left out.
    ///
    /// # Errors
    /// The folder itself cannot be listed. A file that cannot be read is a note.
    pub fn read(root: &Path) -> Result<Self, SourcesError> {
        let walked = walk::walk(root)?;
        let mut sources = Self {
            root: root.to_owned(),
            walked: walked.paths.len(),
            paths: walked.paths,
            ..Self::default()
        };
        for contents in sources.read_all(&walked.templates) {
            sources.take(contents);
        }
        sources.drop_patches();
        Ok(sources)
    }

    /// The files of a repository, or none yet.
    ///
    /// # Errors
    /// The folder of a repository cannot be listed.
    pub fn of(root: &Path, is_repository: bool) -> Result<Self, SourcesError> {
        if is_repository {
            Self::read(root)
        } else {
            Ok(Self::below(root))
        }
    }

    /// No files yet; those that are added are shown from this folder on.
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            ..Self::default()
        }
    }

    /// Leaves out files that Kustomize merges into others: what stands in them is no object by itself.
    fn drop_patches(&mut self) {
        let mut patches = Vec::new();
        for document in self
            .documents
            .iter()
            .filter(|document| document.kind == "Kustomization")
        {
            let base = folder(self.path(document.file()));
            let named = document
                .node
                .items_at(&["patchesStrategicMerge"])
                .iter()
                .filter_map(Node::text);
            let listed = document
                .node
                .items_at(&["patches"])
                .iter()
                .filter_map(|patch| patch.text_at(&["path"]));
            patches.extend(named.chain(listed).filter_map(|path| self.file(&beside(base, path)?)));
        }
        patches.sort_unstable();
        patches.dedup();
        self.documents
            .retain(|document| patches.binary_search(&document.file()).is_err());
        self.workloads
            .retain(|workload| patches.binary_search(&workload.file).is_err());
        let what = "a patch of Kustomize: not checked, and its object is checked without it".to_owned();
        self.notes.extend(patches.into_iter().map(|file| Note {
            file,
            what: what.clone(),
        }));
    }

    /// Each file's contents, in the order of the files.
    fn read_all(&self, templates: &[bool]) -> Vec<Contents> {
        let next = AtomicUsize::new(0);
        let workers = thread::available_parallelism().map_or(1, usize::from).min(8);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = self.paths.get(at) else { return done };
                let file = FileId(u32::try_from(at).expect("fewer files than 2^32"));
                if !templates[at] {
                    done.push((at, document::read(&self.root.join(path), path, file)));
                }
            }
        };
        let mut all: Vec<(usize, Contents)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("reading does not panic"))
                .collect()
        });
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, contents)| contents).collect()
    }

    fn take(&mut self, contents: Contents) {
        self.documents.extend(contents.documents);
        self.workloads.extend(contents.workloads);
        self.malformed.extend(contents.malformed);
        self.duplicates.extend(contents.duplicates);
        self.notes.extend(contents.notes);
    }

    /// Every file, by path from the repository's root.
    pub fn paths(&self) -> impl Iterator<Item = (FileId, &str)> {
        let numbered = self.paths.iter().enumerate();
        numbered.map(|(at, path)| (FileId(u32::try_from(at).expect("fewer files than 2^32")), path.as_str()))
    }

    /// The path of a file, from the repository's root.
    pub fn path(&self, file: FileId) -> &str {
        &self.paths[file.0 as usize]
    }

    /// The file at a path from the root, `.` and `..` followed.
    pub fn file(&self, path: &str) -> Option<FileId> {
        let path = normal(path)?;
        let (walked, added) = self.paths.split_at(self.walked);
        let found = walked.binary_search(&path).ok();
        let found = found.or_else(|| added.iter().position(|known| *known == path).map(|at| at + self.walked))?;
        u32::try_from(found).ok().map(FileId)
    }

    /// A file of values, read whatever it is called. One that cannot be read or is not YAML is empty, and said so.
    pub fn values(&mut self, file: FileId) -> Node {
        let path = self.root.join(self.path(file));
        let is_known = self.malformed.iter().any(|malformed| malformed.place.file == file);
        let contents = document::read_values(&path, file);
        if !is_known {
            self.malformed.extend(contents.malformed);
            self.duplicates.extend(contents.duplicates);
            self.notes.extend(contents.notes);
        }
        let place = Place {
            file,
            line: 1,
            column: 1,
        };
        contents
            .documents
            .into_iter()
            .next()
            .map_or_else(|| Node::empty_map(place), |document| document.node)
    }

    /// Adds a file that need not be below the root, as the user names it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn add(&mut self, path: &Path) -> Result<FileId, SourcesError> {
        fs::metadata(path).map_err(|source| SourcesError::File {
            path: path.to_owned(),
            source,
        })?;
        let inside = path
            .strip_prefix(&self.root)
            .ok()
            .and_then(Path::to_str)
            .and_then(|path| self.file(path));
        if let Some(file) = inside {
            return Ok(file);
        }
        let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        let shown = match absolute.strip_prefix(&root) {
            Ok(inside) => inside.to_string_lossy().into_owned(),
            // `join` with an absolute path is that path.
            Err(_) => absolute.to_string_lossy().into_owned(),
        };
        if let Some(file) = self.file(&shown) {
            return Ok(file);
        }
        self.paths.push(shown);
        Ok(FileId(
            u32::try_from(self.paths.len() - 1).expect("fewer files than 2^32"),
        ))
    }
}

/// A path without `.` and `..`; `None` where it leaves the root.
pub fn normal(path: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The folder of a path; empty for a file at the root.
pub fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path written in a file of `folder`, from the root.
pub fn beside(folder: &str, path: &str) -> Option<String> {
    if folder.is_empty() || path.starts_with('/') {
        return normal(path);
    }
    normal(&format!("{folder}/{path}"))
}
