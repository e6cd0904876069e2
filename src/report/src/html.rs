//! `report.html`.
use crate::model::RunReport;
/// The page.
pub fn html(report: &RunReport) -> String {
    report.run.to_string()
}
