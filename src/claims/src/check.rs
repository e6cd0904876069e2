//! `claims check`: from a repository to what is claimed and what is wrong.

use crate::{
    chart::{CHART_VERSION, Chart, Known},
    finding::{Finding, Findings, Severity},
    layout::{Layout, Named, Origin},
    place::{FileId, Place},
    policy::Policies,
    prediction::Prediction,
    rules::{self, Context},
    sources::{Note, Sources, SourcesError},
    table::{Table, shown},
    values::leaves,
};
use meshproof_contract::Exit;
use std::path::{Path, PathBuf};

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The repository's folder.
    pub root: PathBuf,
    /// Files of values that the user names for a cluster: role and file, in order.
    pub values: Vec<(String, PathBuf)>,
}

/// One value that is claimed of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The cluster's role.
    pub cluster: String,
    /// The value's path.
    pub value: String,
    /// What is claimed, if the table knows the value; of others nothing is shown.
    pub shown: Option<String>,
    /// Where.
    pub place: Place,
    /// The checks of a run that verify it; none means: claimed, not verified.
    pub checks: Vec<String>,
}

/// The files that say what one cluster's values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The cluster's role.
    pub cluster: String,
    /// How they were found.
    pub origin: Origin,
    /// The files, later ones over earlier ones.
    pub files: Vec<FileId>,
    /// Whether every part of them could be read.
    pub is_complete: bool,
}

/// The result.
#[derive(Debug)]
pub struct Report {
    paths: Vec<String>,
    notes: Vec<Note>,
    /// What is wrong, in the order of the files.
    pub findings: Vec<Finding>,
    /// What is claimed.
    pub claims: Vec<Claim>,
    /// Which files are whose.
    pub mapping: Vec<Mapping>,
    /// Assumptions about the mapping.
    pub assumptions: Vec<String>,
}

impl Report {
    /// The path of a file: below the folder as the user named it, if that is a relative path, so that it can be opened.
    pub fn path(&self, file: FileId) -> &str {
        &self.paths[file.0 as usize]
    }

    /// Files that were not read, each with the reason.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// Errors fail the command, warnings do not.
    pub fn exit(&self) -> Exit {
        match self.count(Severity::Error) {
            0 => Exit::Passed,
            _ => Exit::Failed,
        }
    }
}

/// Checks a repository.
///
/// # Errors
/// The folder, or a file that the user names, cannot be read.
pub fn check(request: &Request) -> Result<Report, SourcesError> {
    let (chart, prediction) = (Chart::new(), Prediction::new());
    let table = Table::new(&chart, &prediction);
    let mut sources = Sources::read(&request.root)?;
    let named = named(&mut sources, &request.values)?;
    let mut findings = Findings::default();
    let layout = Layout::of(&mut sources, &chart, &named, &mut findings);
    let policies = Policies::of(&sources);
    let context = Context {
        sources: &sources,
        layout: &layout,
        chart: &chart,
        table: &table,
        policies: &policies,
    };
    rules::check(&context, &mut findings);
    let claims = claims(&chart, &table, &layout);
    drop(policies);
    let mut assumptions = layout.assumptions.clone();
    for cluster in &layout.clusters {
        if !rules::keys::has_known_chart(&layout.pins, &cluster.role) {
            let what = format!(
                "{}: keys are not checked: no pin allows 1.18, and the table is of chart {CHART_VERSION}",
                cluster.role
            );
            assumptions.push(what);
        }
    }
    let mapping = layout.clusters.iter().flat_map(|cluster| {
        cluster.sets.iter().map(|set| Mapping {
            cluster: cluster.role.clone(),
            origin: set.origin,
            files: set.files.clone(),
            is_complete: set.is_complete,
        })
    });
    Ok(Report {
        mapping: mapping.collect(),
        findings: findings.sorted(),
        claims,
        assumptions,
        paths: sources
            .paths()
            .map(|(_, path)| shown_path(&request.root, path))
            .collect(),
        notes: sources.notes,
    })
}

pub(crate) fn shown_path(root: &Path, path: &str) -> String {
    let is_plain = root == Path::new("") || root == Path::new(".") || root.is_absolute() || path.starts_with('/');
    if is_plain {
        path.to_owned()
    } else {
        root.join(path).display().to_string()
    }
}

pub(crate) fn named(sources: &mut Sources, values: &[(String, PathBuf)]) -> Result<Named, SourcesError> {
    let mut named: Named = Vec::new();
    for (role, path) in values {
        let file = sources.add(Path::new(path))?;
        match named.iter_mut().find(|(known, _)| known == role) {
            Some((_, files)) => files.push(file),
            None => named.push((role.clone(), vec![file])),
        }
    }
    Ok(named)
}

/// Every value that is given and that the chart knows, of the values in force in the end.
fn claims(chart: &Chart, table: &Table, layout: &Layout) -> Vec<Claim> {
    let mut claims = Vec::new();
    for cluster in &layout.clusters {
        let Some(set) = cluster.set() else { continue };
        for leaf in leaves(&set.values)
            .iter()
            .filter(|leaf| chart.know(&leaf.keys) != Known::Unknown)
        {
            let value = leaf.path();
            let row = table.row(&value);
            claims.push(Claim {
                cluster: cluster.role.clone(),
                shown: row.map(|_| shown(leaf.node)),
                checks: row.map(|row| row.checks.clone()).unwrap_or_default(),
                place: leaf.place,
                value,
            });
        }
    }
    claims
}
