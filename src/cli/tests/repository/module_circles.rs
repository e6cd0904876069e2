//! No module of these crates leads back to itself: read from the `use` lines and paths of their sources, tests left
//! out. Siblings are compared at every level; what a parent and its children lend each other is not looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module's path inside its crate.
type Module = Vec<String>;
/// The sources of a crate by module, without what is compiled for tests only.
type Sources = BTreeMap<Module, String>;
/// Which sibling names which.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_lab_has_no_module_circle() {
    assert_eq!(circles("src/lab/src"), Vec::<String>::new());
}

#[test]
fn the_data_path_has_no_module_circle() {
    assert_eq!(circles("src/datapath/src"), Vec::<String>::new());
}

#[test]
fn the_api_server_has_no_module_circle() {
    assert_eq!(circles("src/apiserver/src"), Vec::<String>::new());
}

#[test]
fn the_suites_have_no_module_circle() {
    assert_eq!(circles("suites/src"), Vec::<String>::new());
}

#[test]
fn a_circle_is_found_through_braces_reexports_and_paths() {
    let file = |module: &str, text: &str| {
        (
            module.split("::").map(str::to_owned).collect::<Module>(),
            text.to_owned(),
        )
    };
    let sources = Sources::from([
        file("a", "mod deep;\npub use deep::Thing;\n"),
        file("a::deep", "use crate::{\n    b::{self, Other as Another},\n    d,\n};"),
        file("b", "fn f() { crate::c::g() }"),
        file("c", "use super::a::Thing;\n// crate::d::h"),
        file("d", ""),
    ]);
    let graph = graph(&[], &sources);
    assert_eq!(graph["a"], BTreeSet::from(["b".to_owned(), "d".to_owned()]));
    assert_eq!(circle(&graph).unwrap().join(" "), "a b c a");
    assert_eq!(
        without_tests("x\n#[cfg(test)]\nmod tests {\n use a::{b};\n}\ny").0,
        "x\n\ny"
    );
    assert_eq!(without_tests("#[cfg(test)]\nmod fixture;\ny").1, ["fixture"]);
}

/// Every circle of a crate, as `parent: a -> b -> a`.
fn circles(folder: &str) -> Vec<String> {
    let root = crate::root().join(folder);
    let mut sources = Sources::new();
    read(&root, &[], &mut sources);
    assert!(sources.len() > 5, "{} has no sources", root.display());
    let parents = sources
        .keys()
        .filter_map(|module| module.split_last())
        .map(|(_, parent)| parent);
    let found = parents.collect::<BTreeSet<_>>().into_iter().filter_map(|parent| {
        let way = circle(&graph(parent, &sources))?;
        Some(format!(
            "crate{}: {}",
            parent.iter().map(|part| format!("::{part}")).collect::<String>(),
            way.join(" -> ")
        ))
    });
    found.collect()
}

/// Reads the modules of a folder, and those of the folders beside them.
fn read(folder: &Path, parent: &[String], sources: &mut Sources) {
    let mut left_out = BTreeSet::from(["lib".to_owned(), "main".to_owned()]);
    if let Some(text) = sources.get(parent) {
        left_out.extend(without_tests(text).1);
    }
    let entries = fs::read_dir(folder).expect("a readable folder");
    let entries = entries.map(|entry| entry.expect("a readable folder").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    if parent.is_empty() {
        let root = fs::read_to_string(folder.join("lib.rs")).expect("a readable source");
        left_out.extend(without_tests(&root).1);
        sources.insert(Vec::new(), root);
    }
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for file in files {
        if !left_out.contains(&name(&file)) {
            let text = fs::read_to_string(&file).expect("a readable source");
            sources.insert([parent, &[name(&file)]].concat(), text);
        }
    }
    for folder in folders {
        let module = [parent, &[name(&folder)]].concat();
        if sources.contains_key(&module) {
            read(&folder, &module, sources);
        }
    }
}

/// The text without items for tests, and the names of modules that are for tests only.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut modules) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, item)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        let end = item.find([';', '{']).unwrap_or(item.len());
        if item[end..].starts_with('{') {
            let mut depth = 0;
            let close = item.char_indices().find(|(_, letter)| {
                depth += i32::from(*letter == '{') - i32::from(*letter == '}');
                depth == 0 && *letter == '}'
            });
            rest = close.map_or("", |(at, _)| &item[at + 1..]);
        } else {
            modules.extend(item[..end].split_once("mod ").map(|(_, name)| name.trim().to_owned()));
            rest = item.get(end + 1..).unwrap_or_default();
        }
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Which children of a module name which others.
fn graph(parent: &[String], sources: &Sources) -> Graph {
    let children: BTreeSet<&String> = sources
        .keys()
        .filter(|m| m.starts_with(parent))
        .filter_map(|m| m.get(parent.len()))
        .collect();
    let lent = sources.get(parent).map(|text| reexports(text)).unwrap_or_default();
    let mut graph = Graph::new();
    for (module, text) in sources
        .iter()
        .filter(|(m, _)| m.starts_with(parent) && m.len() > parent.len())
    {
        let own = &module[parent.len()];
        for path in named(module, &without_tests(text).0) {
            let Some(first) = path.strip_prefix(parent).and_then(|rest| rest.first()) else {
                continue;
            };
            let first = lent.get(first).unwrap_or(first);
            if children.contains(first) && first != own {
                graph.entry(own.clone()).or_default().insert(first.clone());
            }
        }
    }
    graph
}

/// The names that a module lends from its children: `pub use child::Name`.
fn reexports(text: &str) -> BTreeMap<String, String> {
    let statements = text.split("use ").skip(1).filter_map(|rest| rest.split_once(';'));
    let paths = statements.flat_map(|(tree, _)| expand(tree));
    let lent = paths.filter_map(|path| {
        let path: Vec<_> = path.iter().skip_while(|part| *part == "self").cloned().collect();
        (path.len() > 1).then(|| (path[path.len() - 1].clone(), path[0].clone()))
    });
    lent.collect()
}

/// The absolute paths that a module's text names by `crate::` or `super::`, in `use` lines or elsewhere.
fn named(module: &[String], text: &str) -> Vec<Module> {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (start, base) in [
        ("crate::", Vec::new()),
        ("super::", module[..module.len() - 1].to_vec()),
    ] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '_' | ':')) {
                continue;
            }
            for mut path in expand(&code[at + start.len()..]) {
                let mut base = base.clone();
                while path.first().is_some_and(|part| part == "super") {
                    path.remove(0);
                    base.pop();
                }
                found.push([base, path].concat());
            }
        }
    }
    found
}

/// The paths of a use tree at the beginning of a text: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(text: &str) -> Vec<Module> {
    let text = text.trim_start();
    let end = text
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if let Some(inner) = rest.strip_prefix("::") {
        let tails = expand(inner).into_iter();
        return tails.map(|tail| [vec![name.to_owned()], tail].concat()).collect();
    }
    if let Some(inner) = text.strip_prefix('{') {
        return branches(inner).into_iter().flat_map(expand).collect();
    }
    if name.is_empty() {
        Vec::new()
    } else {
        vec![vec![name.to_owned()]]
    }
}

/// The parts between the commas of a brace, up to where it is closed.
fn branches(inner: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&inner[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// A way that leads back to where it began.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    fn walk(graph: &Graph, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        let here = way.last()?.clone();
        for next in graph.get(&here).into_iter().flatten() {
            if let Some(at) = way.iter().position(|step| step == next) {
                return Some([&way[at..], std::slice::from_ref(next)].concat());
            }
            if !done.contains(next) {
                way.push(next.clone());
                if let Some(found) = walk(graph, way, done) {
                    return Some(found);
                }
                way.pop();
            }
        }
        done.insert(here);
        None
    }
    let mut done = BTreeSet::new();
    graph
        .keys()
        .find_map(|start| walk(graph, &mut vec![start.clone()], &mut done))
}
