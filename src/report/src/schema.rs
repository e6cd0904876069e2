//! `report.json` and the schemas of it and of the event log.

use crate::{gate::GateReport, model::RunReport};
use meshproof_contract::EventRecord;
use schemars::Schema;

/// `report.json`.
pub fn json(report: &RunReport) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report has string keys and finite numbers only");
    text.push('\n');
    text
}

/// JSON Schema of `report.json`; committed as `reports/report.schema.json`.
pub fn report_schema() -> Schema {
    titled(schemars::schema_for!(RunReport), "meshproof run report")
}

/// JSON Schema of one line of `events.ndjson`; committed as `reports/event.schema.json`.
pub fn event_schema() -> Schema {
    titled(schemars::schema_for!(EventRecord), "meshproof event")
}

/// JSON Schema of what `meshproof gate --format json` prints; committed as `reports/gate.schema.json`.
pub fn gate_schema() -> Schema {
    titled(schemars::schema_for!(GateReport), "meshproof gate")
}

fn titled(mut schema: Schema, title: &str) -> Schema {
    schema.insert("title".to_owned(), title.into());
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use serde_json::Value;
    use std::path::Path;

    fn assert_committed(name: &str, schema: &Schema) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports").join(name);
        let text = serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n";
        if std::env::var_os("MESHPROOF_UPDATE").is_some() {
            std::fs::write(&path, &text).expect("written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "reports/{name} is out of date: run the tests with MESHPROOF_UPDATE=1"
        );
    }
    fn errors(schema: &Schema, instance: &Value) -> Vec<String> {
        let validator = jsonschema::validator_for(schema.as_value()).expect("a valid schema");
        validator.iter_errors(instance).map(|error| error.to_string()).collect()
    }

    #[test]
    fn the_committed_schemas_are_current() {
        assert_committed("report.schema.json", &report_schema());
        assert_committed("event.schema.json", &event_schema());
        assert_committed("gate.schema.json", &gate_schema());
    }

    #[test]
    fn a_report_satisfies_its_schema_and_reads_back() {
        let report = fixture::report();
        let value: Value = serde_json::from_str(&json(&report)).expect("JSON");
        assert_eq!(errors(&report_schema(), &value), Vec::<String>::new());
        assert_eq!(
            serde_json::from_value::<RunReport>(value.clone()).expect("reads back"),
            report
        );
        let mut wrong = value;
        wrong["suites"][0]["trials"][0]["verdict"] = "green".into();
        assert!(
            !errors(&report_schema(), &wrong).is_empty(),
            "the schema must reject an unknown verdict"
        );
    }

    #[test]
    fn the_sample_run_can_still_be_read() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/sample");
        let folded = RunReport::from_events(&crate::read_log(&sample).expect("its log"));
        let text = std::fs::read_to_string(sample.join("report.json")).expect("its report");
        let written: RunReport = serde_json::from_str(&text).expect("a report");
        assert_eq!((folded.counts, folded.exit_code), (written.counts, written.exit_code));
        assert_eq!(
            errors(&report_schema(), &serde_json::from_str(&text).expect("JSON")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_event_satisfies_its_schema() {
        for record in fixture::mixed() {
            let value = serde_json::to_value(&record).expect("JSON");
            assert_eq!(errors(&event_schema(), &value), Vec::<String>::new(), "{value}");
        }
    }
}
