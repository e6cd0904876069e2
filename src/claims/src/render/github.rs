//! Annotations of GitHub Actions: each finding at its line of the pull request.

use super::summary;
use crate::{check::Report, finding::Severity};

/// Workflow commands, one a line, and the summary as a notice.
pub fn github(report: &Report) -> String {
    let line = |finding: &crate::Finding| {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (file, place) = (property(report.path(finding.place.file)), finding.place);
        let title = property(&format!("meshproof {}", finding.rule));
        let message = message(&finding.what);
        format!(
            "::{command} file={file},line={},col={},title={title}::{message}\n",
            place.line, place.column
        )
    };
    let mut out: String = report.findings.iter().map(line).collect();
    out.push_str(&format!(
        "::notice title=meshproof claims check::{}\n",
        message(&summary(report))
    ));
    out
}

/// A text that ends at the line's end.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A text that ends at a comma or colon, too.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_property_is_escaped() {
        assert_eq!(property("a,b:c%\nd"), "a%2Cb%3Ac%25%0Ad");
        assert_eq!(message("a,b: 100%"), "a,b: 100%25");
    }
}
