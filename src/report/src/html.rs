//! `report.html`: one file without scripts or links to elsewhere, readable on a phone, in light and in dark.

mod view;

use crate::model::RunReport;
use askama::Template;
use view::Page;

/// The report as a page.
pub fn html(report: &RunReport) -> String {
    Page::of(report)
        .render()
        .expect("the template writes to memory and calls nothing that fails")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use meshproof_contract::Evidence;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_no_script() {
        let page = html(&fixture::report());
        for forbidden in ["<script", "<link", "@import", "url(", "<img", "onclick", "src="] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn the_verdict_comes_first_and_what_failed_next() {
        let page = html(&fixture::report());
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("missing: {text}"));
        let order = [
            "<h1",
            "come from the live configuration",
            "Failed checks",
            "no answer within 1500 ms",
            "--exact &#39;connectivity::udp[infra-&#62;apps]&#39;",
            "Inconclusive checks",
            "Reachability by node pair",
            "Latency distributions",
            "<h2>All checks",
            "<h2>Clusters",
            "<h2>Claims",
        ];
        let places: Vec<usize> = order.iter().map(|text| at(text)).collect();
        assert!(places.is_sorted(), "{:?}", order.iter().zip(places).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_observed_cannot_become_markup() {
        let mut report = fixture::report();
        let attack = "<script>alert(1)</script>\"'><b>";
        for trial in report.suites.iter_mut().flat_map(|suite| &mut suite.trials) {
            trial.title = attack.into();
            trial.evidence.push(Evidence::note(attack));
            trial.evidence.push(Evidence::command(attack));
            for evidence in &mut trial.evidence {
                if let Evidence::Row(row) = evidence {
                    row.what = attack.to_owned();
                    row.cells
                        .iter_mut()
                        .for_each(|cell| cell.detail = Some(attack.to_owned()));
                }
            }
            trial.measurements.iter_mut().for_each(|m| m.subject = attack.into());
            trial.verdict = meshproof_contract::Verdict::inconclusive(attack);
        }
        report.run = attack.into();
        let page = html(&report);
        assert!(
            !page.contains("<script") && !page.contains("\"'><b>"),
            "escaped everywhere"
        );
    }

    #[test]
    fn one_reason_for_many_checks_is_one_card() {
        let mut report = fixture::report();
        for trial in report.suites.iter_mut().flat_map(|suite| &mut suite.trials) {
            trial.verdict = meshproof_contract::Verdict::inconclusive("agent `server` does not run");
        }
        let page = html(&report);
        let card = "<h3>agent <code>server</code> does not run</h3>\n  <p class=\"name\">26 checks</p>";
        assert!(page.contains(card), "{page}");
        assert_eq!(page.matches("<article").count(), 1);
    }

    #[test]
    fn an_empty_run_has_a_page_too() {
        let page = html(&RunReport::from_events(&[]));
        assert!(
            page.contains("Inconclusive") && page.contains("killed or crashed"),
            "{page}"
        );
        assert!(!page.contains("Failed checks"), "no empty section");
    }
}
