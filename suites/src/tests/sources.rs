//! The sources of this crate, and what they name.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file.
pub struct Source {
    /// Below `suites/src`, `dns/absent_name.rs`.
    pub path: String,
    /// Its module, `["dns", "absent_name"]`; empty for the crate's root.
    pub module: Vec<String>,
    pub text: String,
}

/// Every file of this crate.
pub fn sources() -> Vec<Source> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 100, "only {} sources were found", found.len());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).expect("a file below the root");
            let module = relative.with_extension("");
            let module = module.iter().map(|part| part.to_string_lossy().into_owned());
            found.push(Source {
                path: relative.to_string_lossy().into_owned(),
                module: module.filter(|part| part != "lib").collect(),
                text: fs::read_to_string(&path).expect("a readable source"),
            });
        }
    }
}

impl Source {
    /// Whether it is compiled for tests only, by the names that this crate gives to such files.
    pub fn is_test(&self) -> bool {
        self.module
            .iter()
            .any(|part| matches!(part.as_str(), "tests" | "testing"))
    }

    /// The text before its tests, without comments.
    pub fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        without_comments(code)
    }

    /// Every path in the file that begins with `crate` or leaves its own module upwards, as a path from the crate's
    /// root.
    pub fn paths_from_root(&self) -> Vec<Vec<String>> {
        let (code, tests) = match self.text.find("#[cfg(test)]\nmod tests {") {
            Some(at) => self.text.split_at(at),
            None => (self.text.as_str(), ""),
        };
        let mut paths = upward_paths(&without_comments(code), &self.module);
        let mut inner = self.module.clone();
        inner.push("tests".to_owned());
        paths.extend(upward_paths(&without_comments(tests), &inner));
        paths
    }

    /// What its `use` lines name, each as a full path: from the crate's root where the first name is this crate's.
    pub fn imports(&self) -> Vec<Vec<String>> {
        let code = self.code();
        let statements = code.split(';').filter_map(|statement| {
            let statement = statement.trim_start();
            let start = statement.rfind("\nuse ").map(|at| at + 1).unwrap_or(0);
            let pub_start = statement.rfind("\npub use ").map(|at| at + 1).unwrap_or(start);
            let statement = &statement[start.max(pub_start)..];
            let statement = statement.strip_prefix("pub ").unwrap_or(statement);
            statement.strip_prefix("use ").map(str::to_owned)
        });
        statements
            .flat_map(|tree| expand(&tree))
            .map(|path| absolute(&path, &self.module))
            .collect()
    }
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// A path as seen from the crate's root: `super` and `self` resolved, names of children put below the module.
fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let mut at = module.to_vec();
    let mut rest = path;
    match rest.first().map(String::as_str) {
        Some("crate") => (at, rest) = (Vec::new(), &rest[1..]),
        Some("self") => rest = &rest[1..],
        _ => {}
    }
    while rest.first().is_some_and(|part| part == "super") {
        at.pop();
        rest = &rest[1..];
    }
    at.extend_from_slice(rest);
    at
}

/// The paths of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let parts = path.split("::").map(|part| part.trim().to_owned());
        return vec![parts.filter(|part| !part.is_empty()).collect()];
    };
    let prefix = &tree[..open];
    let inner = tree[open + 1..].trim_end().strip_suffix('}').unwrap_or_default();
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&inner[start..]);
    let branches = branches.into_iter().filter(|branch| !branch.trim().is_empty());
    branches
        .flat_map(|branch| expand(&format!("{prefix}{}", branch.trim())))
        .collect()
}

/// The paths that begin with `crate::` or with `super::`, `use` trees expanded.
fn upward_paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            // `super::super::x` is one path, and `pub(crate)` none.
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            paths.extend(expand(tree_at(&code[at..])).iter().map(|path| absolute(path, module)));
        }
    }
    paths
}

/// The path or the `use` tree at the start of the text.
fn tree_at(text: &str) -> &str {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' if depth > 0 || text[..at].ends_with("::") => depth += 1,
            '}' if depth == 1 => return &text[..=at],
            '}' => depth -= 1,
            _ if depth > 0 => {}
            c if c.is_alphanumeric() || c == '_' || c == ':' => {}
            _ => return text[..at].trim_end_matches(':'),
        }
    }
    text
}

#[test]
fn use_trees_are_expanded_and_resolved() {
    let source = |text: &str| Source {
        path: "dns/latency.rs".to_owned(),
        module: vec!["dns".to_owned(), "latency".to_owned()],
        text: text.to_owned(),
    };
    let joined = |paths: Vec<Vec<String>>| paths.iter().map(|path| path.join("::")).collect::<Vec<_>>();
    let text = concat!(
        "//! crate::mesh\n\nuse super::endpoints;\n",
        "use crate::{\n    kit::{probes, wait::{self, Waited}},\n    mesh as m,\n};\n",
        "fn f() { super::super::policy::g() }\n",
        "#[cfg(test)]\nmod tests {\n    use super::*;\n    use super::super::X;\n}\n",
    );
    assert_eq!(
        joined(source(text).imports()),
        [
            "dns::endpoints",
            "kit::probes",
            "kit::wait::self",
            "kit::wait::Waited",
            "mesh"
        ]
    );
    assert_eq!(
        joined(source(text).paths_from_root()),
        [
            "kit::probes",
            "kit::wait::self",
            "kit::wait::Waited",
            "mesh",
            "dns::endpoints",
            "policy::g",
            "dns::latency",
            "dns::X"
        ]
    );
}
