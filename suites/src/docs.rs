//! One Markdown page for each suite, made of the checks' own texts, so that documentation, `explain` and reports agree.

use crate::{ALL, kit::known_fault};
use meshproof_contract::{Check, FlowKind, Needs, Scope, Suite};
use std::fmt::Write;

/// A page of documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// File name below `docs/suites/`.
    pub file: String,
    /// Markdown.
    pub text: String,
}

/// Every page: an index and one for each suite.
pub fn pages() -> Vec<Page> {
    let mut pages = vec![index()];
    pages.extend(ALL.iter().map(|suite| page(suite)));
    pages
}

const GENERATED: &str = "<!-- Generated from the checks' own texts. Change them there, then run: MESHPROOF_UPDATE=1 \
                         cargo test -p meshproof-suites -->\n";

fn index() -> Page {
    let mut text = format!("{GENERATED}\n# Suites\n\n| suite | checks | about |\n| --- | --- | --- |\n");
    for suite in ALL {
        line(
            &mut text,
            format_args!(
                "| [{0}]({0}.md) | {1} | {2} |",
                suite.name,
                suite.checks.len(),
                suite.about
            ),
        );
    }
    Page {
        file: "README.md".to_owned(),
        text,
    }
}

/// The page of a suite.
pub fn page(suite: &Suite) -> Page {
    let mut text = format!(
        "{GENERATED}\n# {}\n\n{}\n\n| check | runs | what |\n| --- | --- | --- |\n",
        suite.name, suite.about
    );
    for check in suite.checks {
        let id = check.id();
        let anchor = id.as_str().replace("::", "");
        line(
            &mut text,
            format_args!(
                "| [{id}](#{anchor}) | {} | {} |",
                runs(check.scope()),
                check.text().title
            ),
        );
    }
    for check in suite.checks {
        describe(&mut text, *check);
    }
    Page {
        file: format!("{}.md", suite.name),
        text,
    }
}

fn describe(text: &mut String, check: &dyn Check) {
    let words = check.text();
    line(text, format_args!("\n## {}\n", check.id()));
    line(
        text,
        format_args!(
            "**{}.** Runs {}{}.\n",
            words.title,
            runs(check.scope()),
            needs(check.needs())
        ),
    );
    for (heading, body) in [
        ("Proves", words.proves),
        ("How", words.how),
        ("Control", words.control),
        ("When red", words.when_red),
    ] {
        line(text, format_args!("- **{heading}**: {body}"));
    }
    for known in known_fault::of(&check.id()) {
        line(text, format_args!("- **Known fault of Cilium**: {}", known.describe()));
    }
    let faults: Vec<String> = check.faults().iter().map(|fault| format!("`{fault}`")).collect();
    line(
        text,
        format_args!("- **Faults that turn it red**: {}", faults.join(", ")),
    );
    let blinding: Vec<String> = check.blinded_by().iter().map(|fault| format!("`{fault}`")).collect();
    if !blinding.is_empty() {
        line(
            text,
            format_args!(
                "- **Faults that blind it, so that it must not be green**: {}",
                blinding.join(", ")
            ),
        );
    }
}

fn runs(scope: Scope) -> &'static str {
    match scope {
        Scope::Cluster => "in each cluster",
        Scope::Direction => "in each direction between clusters",
        Scope::Flow(FlowKind::Allowed) => "for each flow that is allowed",
        Scope::Flow(FlowKind::Denied) => "for each flow that is not allowed",
        Scope::Flow(FlowKind::Encrypted) => "for each flow with `encrypted`",
    }
}

fn needs(needs: Needs) -> String {
    let mut words = String::new();
    if let Some(scenario) = needs.scenario {
        let _ = write!(words, ", on scenario `{scenario}`");
    }
    if let Some(claim) = needs.claim {
        // The claim's word as in meshproof.yaml.
        let word = serde_json::to_value(claim).unwrap_or_default();
        let _ = write!(words, ", where `{}` is claimed", word.as_str().unwrap_or_default());
    }
    words
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{assert_current, repository};

    #[test]
    fn the_committed_pages_are_current() {
        for page in pages() {
            assert_current(&format!("docs/suites/{}", page.file), &page.text);
        }
        let expected: Vec<String> = pages().into_iter().map(|page| page.file).collect();
        for entry in std::fs::read_dir(repository().join("docs/suites")).expect("docs/suites") {
            let name = entry.expect("entry").file_name().to_string_lossy().into_owned();
            assert!(
                expected.contains(&name),
                "docs/suites/{name} belongs to no suite: remove it"
            );
        }
    }
}
