//! `meshproof explain`: the checks' own texts, what Helm values claim, and the rules of `claims check`.

mod claim;

use crate::cli_error::CliError;
use anyhow::anyhow;
use meshproof_contract::{Check, Exit, Suite, Waiver, waiver::matches};
use meshproof_suites::kit::known_fault;
use std::io::{self, Write};

/// Explains the checks whose id contains `wanted`, with the waivers of them, or lists all. A Helm value or a rule of
/// that very name comes first; without any check, those that contain it are explained.
pub fn explain(
    suites: &[&'static Suite],
    wanted: Option<&str>,
    waivers: &[Waiver],
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let written = match wanted {
        None => list(suites, out),
        Some(wanted) => {
            let found = matching(suites, wanted);
            let claims = claim::Claims::new();
            if claims.has(wanted) || found.is_empty() {
                let pages = claims.pages(wanted).ok_or_else(|| {
                    CliError::usage(anyhow!(
                        "no check id, Helm value or rule contains '{wanted}'; `meshproof explain` lists the checks, \
                         docs/claims.md the values and rules"
                    ))
                })?;
                out.write_all(pages.as_bytes())
            } else {
                found.into_iter().try_for_each(|check| page(check, waivers, out))
            }
        }
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::environment(error)),
        _ => Ok(Exit::Passed),
    }
}

fn matching(suites: &[&'static Suite], wanted: &str) -> Vec<&'static dyn Check> {
    // A trial's name works too, as copied from a report: `suite::check[infra->apps]`.
    let wanted = wanted.split('[').next().unwrap_or(wanted);
    let all = || suites.iter().flat_map(|suite| suite.checks.iter().copied());
    let exact: Vec<_> = all().filter(|check| check.id().as_str() == wanted).collect();
    if exact.is_empty() {
        all().filter(|check| check.id().as_str().contains(wanted)).collect()
    } else {
        exact
    }
}

fn list(suites: &[&'static Suite], out: &mut impl Write) -> io::Result<()> {
    for suite in suites {
        writeln!(out, "{}: {}", suite.name, suite.about)?;
        for check in suite.checks {
            writeln!(out, "  {:<44} {}", check.id(), check.text().title)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn page(check: &dyn Check, waivers: &[Waiver], out: &mut impl Write) -> io::Result<()> {
    let text = check.text();
    writeln!(out, "{}\n{}\n", check.id(), text.title)?;
    let faults = check.faults().join(", ");
    let blinding = check.blinded_by().join(", ");
    let waived = waivers
        .iter()
        .filter(|waiver| matches(&waiver.check, check.id().as_str()))
        .map(|waiver| format!("{} ({}) {waiver}", waiver.subject(), waiver.source))
        .collect::<Vec<_>>()
        .join("\n");
    let known: Vec<_> = known_fault::of(&check.id()).map(|known| known.describe()).collect();
    let known = known.join("\n");
    let sections = [
        ("Proves", text.proves),
        ("How", text.how),
        ("Control", text.control),
        ("When red", text.when_red),
        ("Known faults of Cilium", &known),
        ("Faults it catches", &faults),
        ("Faults that make it inconclusive", &blinding),
        ("Waivers of meshproof.yaml", &waived),
    ];
    let sections = sections.into_iter().filter(|(_, text)| !text.is_empty());
    for (heading, body) in sections {
        writeln!(out, "{heading}\n  {}\n", body.replace('\n', "\n  "))?;
    }
    Ok(())
}
