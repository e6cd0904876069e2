//! How well faults are told from their signatures: `cargo run -p meshproof-report --example diagnose [prove.json]…`
//!
//! Every row of these files is a run, and so are pairs of rows; without files, the signatures that are built in. Files
//! of other seeds, so of other places and sizes, show what a real run would meet. Prints what docs/diagnosis.md says.

use meshproof_contract::{
    CheckId, Signature, Signatures,
    run_state::{Found, SeenByChecks, diagnose},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
};

/// Faults that a diagnosis names at most for one cause.
const NAMED: usize = 3;
/// The distance of the two rows of a pair in the list: far enough to be of other suites, mostly.
const APART: usize = 97;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let known = Signatures::known();
    let mut runs: Vec<Signature> = Vec::new();
    for file in env::args().skip(1) {
        let text = fs::read_to_string(&file)?;
        runs.extend(serde_json::from_str::<Signatures>(&text)?.rows);
    }
    if runs.is_empty() {
        runs.clone_from(&known.rows);
    }
    runs.retain(|row| !row.red.is_empty());

    let (mut first, mut among) = (0, 0);
    let mut confused: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &runs {
        let found = diagnose(&seen(&[row]), known);
        let names = found.first().map_or(Vec::new(), named);
        first += usize::from(names.first() == Some(&row.of.as_str()));
        among += usize::from(names.contains(&row.of.as_str()));
        if names.first() != Some(&row.of.as_str()) {
            confused.entry(&row.of).or_default().extend(names);
        }
    }
    let (mut two, mut pairs) = (0, 0);
    for (at, a) in runs.iter().enumerate() {
        let b = &runs[(at + APART) % runs.len()];
        if a.of == b.of {
            continue;
        }
        let (seen, mut left) = (seen(&[a, b]), vec![a.of.as_str(), b.of.as_str()]);
        let found = diagnose(&seen, known);
        for found in &found {
            let names = named(found);
            left.retain(|of| !names.contains(of));
        }
        two += usize::from(left.is_empty() && found.len() == 2);
        pairs += 1;
    }
    println!(
        "first: {first} of {}; among {NAMED}: {among}; two as two: {two} of {pairs}\n",
        runs.len()
    );
    println!("| fault | named instead |\n| --- | --- |");
    for (of, names) in confused {
        let names: Vec<&str> = names.into_iter().filter(|name| *name != of).collect();
        println!("| {of} | {} |", names.join(", "));
    }
    Ok(())
}

/// What a run with these faults would have seen: a check is as its worst.
fn seen(rows: &[&Signature]) -> SeenByChecks {
    let mut seen = SeenByChecks::default();
    for row in rows {
        for (check, instances) in &row.red {
            seen.red
                .entry(check.clone())
                .or_default()
                .extend(instances.iter().cloned());
        }
        seen.unsure.extend(row.unsure.iter().cloned());
        seen.green.extend(row.green.iter().cloned());
    }
    let red: BTreeSet<CheckId> = seen.red.keys().cloned().collect();
    seen.unsure.retain(|check| !red.contains(check));
    seen.green
        .retain(|check| !red.contains(check) && !seen.unsure.contains(check));
    if let [row] = rows {
        seen.place.clone_from(&row.place);
    }
    seen
}

/// The faults that a report would name for a cause.
fn named<'a>(found: &Found<'a>) -> Vec<&'a str> {
    let all = std::iter::once(&found.best).chain(&found.close);
    all.take(NAMED).map(|(row, _)| row.of.as_str()).collect()
}
