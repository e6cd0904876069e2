//! What runs write: the same names every time, and the same reports from the log alone.

use crate::{Result, clusters::Clusters, text};
use std::{collections::BTreeSet, fs};

type Test = fn(&Clusters) -> Result<()>;

pub const ALL: &[(&str, Test)] = &[
    ("two_runs_have_identical_test_names", two_runs_have_identical_names),
    ("reports_are_rebuilt_from_the_log", reports_are_rebuilt),
    ("output_through_a_pipe_is_plain", output_through_a_pipe_is_plain),
];

fn names(junit: &str) -> Vec<String> {
    let cases = junit.split("<testcase ").skip(1);
    cases
        .map(|case| {
            let attribute = |key: &str| {
                let from = case.find(&format!("{key}=\"")).map(|at| at + key.len() + 2);
                from.and_then(|from| case[from..].split('"').next()).unwrap_or_default()
            };
            format!("{} {}", attribute("classname"), attribute("name"))
        })
        .collect()
}

fn two_runs_have_identical_names(clusters: &Clusters) -> Result<()> {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let meshproof = clusters.meshproof()?;
        meshproof.run(&["mesh::", "dns::"])?.with(0)?;
        runs.push(names(
            &fs::read_to_string(meshproof.latest("junit.xml")?).map_err(text)?,
        ));
    }
    if runs[0].len() < 20 || runs[0] != runs[1] {
        return Err(format!("expected the same names twice, got {runs:#?}"));
    }
    let different: BTreeSet<_> = runs[0].iter().collect();
    if different.len() < runs[0].len() {
        return Err(format!("duplicate names: {:#?}", runs[0]));
    }
    Ok(())
}

fn reports_are_rebuilt(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    meshproof.run(&["mesh::"])?.with(0)?;
    let files = ["junit.xml", "report.json", "report.html", "summary.md", "metrics.prom"];
    let mut before = Vec::new();
    for file in files {
        let path = meshproof.latest(file)?;
        before.push(fs::read(&path).map_err(text)?);
        fs::remove_file(&path).map_err(text)?;
    }
    let folder = meshproof.latest("")?;
    meshproof.ran(&["report", &folder.to_string_lossy()])?.with(0)?;
    for (file, before) in files.iter().zip(before) {
        let after = fs::read(meshproof.latest(file)?).map_err(|error| format!("{file}: {error}"))?;
        if after != before {
            return Err(format!("{file} differs from the one before"));
        }
    }
    Ok(())
}

fn output_through_a_pipe_is_plain(clusters: &Clusters) -> Result<()> {
    let meshproof = clusters.meshproof()?;
    let ended = meshproof.run(&["mesh::agents_ready"])?.with(0)?;
    for (stream, printed) in [("stdout", &ended.out), ("stderr", &ended.err)] {
        if printed.contains('\u{1b}') || printed.contains('\r') {
            return Err(format!("{stream} has control characters: {printed:?}"));
        }
    }
    if !ended.out.contains("mesh") || !ended.out.contains("PASSED") {
        return Err(format!("stdout lacks the result: {}", ended.out));
    }
    Ok(())
}
