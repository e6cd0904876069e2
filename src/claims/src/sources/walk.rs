//! Which files there are.

use super::SourcesError;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What was found, in the order of the paths.
pub(super) struct Walked {
    /// Paths from the root, with slashes.
    pub paths: Vec<String>,
    /// Whether each is a template of a Helm chart, which is no YAML before it is rendered.
    pub templates: Vec<bool>,
}

/// Lists the YAML files below a folder.
pub(super) fn walk(root: &Path) -> Result<Walked, SourcesError> {
    let (mut paths, mut charts) = (Vec::new(), BTreeSet::new());
    let mut open: Vec<(PathBuf, String)> = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(source) if prefix.is_empty() => return Err(SourcesError::Folder { path: folder, source }),
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let Ok(kind) = entry.file_type() else { continue };
            let path = format!("{prefix}{name}");
            if kind.is_dir() {
                if !name.starts_with('.') && name != "node_modules" {
                    open.push((entry.path(), format!("{path}/")));
                }
            } else if kind.is_file() {
                if name == "Chart.yaml" {
                    charts.insert(prefix.clone());
                }
                if [".yaml", ".yml", ".yaml.gotmpl"].iter().any(|end| name.ends_with(end)) {
                    paths.push(path);
                }
            }
        }
    }
    paths.sort();
    let is_template = |path: &String| {
        let mut folders = path.match_indices("templates/").map(|(at, _)| &path[..at]);
        folders.any(|folder| charts.contains(folder))
    };
    let templates = paths.iter().map(is_template).collect();
    Ok(Walked { paths, templates })
}
