//! The catalogue holds together, and something acts on every fault in it.

use super::{CATALOGUE, Fault, Layer};
use std::path::Path;

/// The name that a variant stands for: `PolicyL7Ignored` is `policy-l7-ignored`.
fn kebab(variant: &str) -> String {
    let mut name = String::new();
    for (at, letter) in variant.char_indices() {
        if letter.is_uppercase() && at > 0 {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[test]
fn names_are_unique_and_sorted() {
    for pair in CATALOGUE.windows(2) {
        assert!(
            pair[0].name < pair[1].name,
            "{} comes before {}",
            pair[0].name,
            pair[1].name
        );
    }
}

#[test]
fn every_fault_leads_to_its_entry_and_back() {
    for (at, spec) in CATALOGUE.iter().enumerate() {
        assert_eq!(spec.fault as usize, at, "{}", spec.name);
        assert_eq!(Fault::named(spec.name), Some(spec.fault));
        assert_eq!(spec.fault.to_string(), spec.name);
        assert_eq!(kebab(&format!("{:?}", spec.fault)), spec.name);
    }
    assert_eq!(Fault::named("no-such-fault"), None);
}

#[test]
fn every_fault_says_what_is_wrong_and_whom_it_concerns() {
    for spec in CATALOGUE {
        assert!(
            spec.what.len() > 15 && !spec.what.ends_with('.'),
            "{}: {}",
            spec.name,
            spec.what
        );
        // Suite `failover` cuts nodes itself: a lab that has lost one already cannot be compared.
        assert_eq!(spec.suites.is_empty(), spec.layer == Layer::Node, "{}", spec.name);
    }
}

#[test]
fn every_fault_has_an_effect_outside_the_catalogue() {
    let mut sources = String::new();
    read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    let named = |fault: Fault| {
        let wanted = format!("Fault::{fault:?}");
        sources.match_indices(&wanted).any(|(at, _)| {
            let next = sources[at + wanted.len()..].chars().next();
            !next.is_some_and(|letter| letter.is_alphanumeric())
        })
    };
    let without: Vec<_> = CATALOGUE
        .iter()
        .filter(|spec| !named(spec.fault))
        .map(|spec| spec.name)
        .collect();
    assert!(without.is_empty(), "nothing acts on {without:?}");
}

/// Appends what is compiled outside of tests, the catalogue's folder left out.
fn read_sources(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "fault" {
                read_sources(&path, sources);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            sources.push_str(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}
