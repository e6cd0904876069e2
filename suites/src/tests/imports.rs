//! Suites are leaves: a reader of one needs the kit and the contract, and no other suite.

use super::{
    assert_none,
    sources::{Source, sources},
};
use crate::ALL;
use std::collections::{BTreeMap, BTreeSet};

fn is_suite(name: &str) -> bool {
    ALL.iter().any(|suite| suite.name == name)
}

#[test]
fn suites_name_themselves_and_the_kit_only() {
    let mut shortcomings = Vec::new();
    for source in sources() {
        let Some(room) = source.module.first() else { continue };
        // The page of documentation and these tests are about all suites.
        let allowed: &[&str] = match room.as_str() {
            "coverage" | "docs" | "tests" => continue,
            "kit" | "testing" => &["kit", "testing"],
            _ => &["kit", "testing", room],
        };
        let foreign: BTreeSet<String> = source
            .paths_from_root()
            .into_iter()
            .filter_map(|path| path.into_iter().next())
            .filter(|room| !room.is_empty() && !allowed.contains(&room.as_str()))
            .collect();
        for other in foreign {
            let why = if is_suite(&other) {
                "a suite names no other suite; move what both need to kit"
            } else {
                "only kit, testing and its own folder may be named"
            };
            shortcomings.push(format!("{} names crate::{other}: {why}", source.path));
        }
    }
    assert_none(&shortcomings);
}

#[test]
fn modules_of_a_suite_form_no_circle() {
    let sources: Vec<Source> = sources().into_iter().filter(|source| !source.is_test()).collect();
    let modules: BTreeSet<&[String]> = sources.iter().map(|source| source.module.as_slice()).collect();
    let module_of = |path: &[String]| {
        let lengths = (1..=path.len()).rev();
        lengths
            .map(|length| &path[..length])
            .find_map(|prefix| modules.get(prefix).copied())
    };
    let edges: BTreeMap<&[String], BTreeSet<&[String]>> = sources
        .iter()
        .map(|source| {
            let imports = source.imports();
            let targets = imports.iter().filter_map(|path| module_of(path));
            let targets = targets.filter(|target| *target != source.module.as_slice());
            (source.module.as_slice(), targets.collect())
        })
        .collect();
    let mut shortcomings = Vec::new();
    for start in edges.keys() {
        if let Some(circle) = circle_from(start, &edges) {
            // Each circle once, from its first module.
            if circle.iter().min() == Some(start) {
                let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
                shortcomings.push(format!("circle: {} -> {}", names.join(" -> "), names[0]));
            }
        }
    }
    assert_none(&shortcomings);
}

type Module<'a> = &'a [String];

/// The shortest way from a module back to itself.
fn circle_from<'a>(start: Module<'a>, edges: &BTreeMap<Module<'a>, BTreeSet<Module<'a>>>) -> Option<Vec<Module<'a>>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| edges.get(last)).into_iter().flatten() {
                if *next == start {
                    return Some(way);
                }
                if seen.insert(*next) {
                    let mut way = way.clone();
                    way.push(*next);
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn nothing_is_shared_by_the_whole_process() {
    let mut shortcomings = Vec::new();
    for source in sources().iter().filter(|source| source.module != ["tests", "imports"]) {
        for line in source.text.lines().map(str::trim_start) {
            let is_static = [
                "static ",
                "pub static ",
                "pub(crate) static ",
                "pub(super) static ",
                "thread_local!",
            ]
            .iter()
            .any(|start| line.starts_with(start));
            if is_static {
                let path = &source.path;
                shortcomings.push(format!(
                    "{path}: `{line}`: state hangs on the run, see CheckContext::shared"
                ));
            }
        }
    }
    assert_none(&shortcomings);
}
