//! `metrics.prom`: the run in Prometheus' text exposition format, for a node exporter's textfile directory or a push
//! gateway.

use crate::model::{RunReport, TrialReport};
use meshproof_contract::{Distribution, Unit, Verdict};
use std::{collections::BTreeMap, fmt::Write};

/// The report as metrics.
pub fn metrics(report: &RunReport) -> String {
    let mut out = Exposition::default();
    out.family("meshproof_run_info", "The run; the value is always 1.");
    let run = [
        ("run", report.run.to_string()),
        ("version", report.version.clone()),
        ("verdict", report.verdict.clone()),
    ];
    out.sample("meshproof_run_info", &run, 1.0);
    out.family("meshproof_run_exit_code", "Exit code of the run; only 0 means success.");
    out.sample("meshproof_run_exit_code", &[], f64::from(report.exit_code));
    if let Some(started) = report.started {
        out.family(
            "meshproof_run_start_timestamp_seconds",
            "Start of the run as a Unix timestamp.",
        );
        out.sample(
            "meshproof_run_start_timestamp_seconds",
            &[],
            started.as_millisecond() as f64 / 1e3,
        );
    }
    out.family(
        "meshproof_run_duration_seconds",
        "Time from the first to the last event of the run.",
    );
    out.sample("meshproof_run_duration_seconds", &[], report.seconds);

    out.family("meshproof_trials", "Number of trials by suite and verdict.");
    for suite in &report.suites {
        let c = suite.counts;
        for (verdict, number) in [
            ("pass", c.passed),
            ("fail", c.failed),
            ("inconclusive", c.inconclusive),
            ("skipped", c.skipped),
            ("waived", c.waived),
        ] {
            out.sample(
                "meshproof_trials",
                &[("suite", suite.name.clone()), ("verdict", verdict.to_owned())],
                number as f64,
            );
        }
    }
    out.family(
        "meshproof_trial_verdict",
        "Verdict of a trial: 1 pass, 0 fail, NaN inconclusive; skipped trials are absent.",
    );
    for trial in report.trials() {
        let value = match trial.verdict {
            Verdict::Pass { .. } => 1.0,
            Verdict::Fail { .. } => 0.0,
            Verdict::Inconclusive { .. } => f64::NAN,
            Verdict::Skipped { .. } => continue,
        };
        out.sample("meshproof_trial_verdict", &labels(trial), value);
    }
    if report.counts.waived > 0 {
        out.family(
            "meshproof_trial_waived",
            "1 for a trial whose failure is waived: its verdict does not fail the run.",
        );
        for trial in report.waived() {
            out.sample("meshproof_trial_waived", &labels(trial), 1.0);
        }
    }
    out.family("meshproof_trial_duration_seconds", "Duration of a trial.");
    for trial in report
        .trials()
        .filter(|trial| !matches!(trial.verdict, Verdict::Skipped { .. }))
    {
        out.sample("meshproof_trial_duration_seconds", &labels(trial), trial.seconds);
    }
    measurements(report, &mut out);
    out.0
}

type Labels = Vec<(&'static str, String)>;

/// One family for each name, in base units as Prometheus wants them.
fn measurements(report: &RunReport, out: &mut Exposition) {
    let mut families = Families::default();
    for trial in report.trials() {
        for m in &trial.measurements {
            let mut labels = labels(trial);
            labels.push(("subject", m.subject.to_string()));
            let (suffix, scale) = base_unit(m.unit);
            let Some(latencies) = &m.distribution else {
                families.add(
                    metric_name(&m.name, suffix),
                    "Measured by a check.",
                    labels,
                    m.value * scale,
                );
                continue;
            };
            families.add(
                metric_name(&m.name, "_samples"),
                "Number of samples behind the quantiles.",
                labels.clone(),
                latencies.count as f64,
            );
            for (quantile, micros) in quantiles(latencies) {
                let mut labels = labels.clone();
                labels.push(("quantile", quantile.to_owned()));
                families.add(
                    metric_name(&m.name, "_seconds"),
                    "Latency measured by a check, by quantile.",
                    labels,
                    micros as f64 * 1e-6,
                );
            }
        }
    }
    families.write(out);
}

/// Quantiles of latencies in microseconds, as Prometheus labels them.
fn quantiles(latencies: &Distribution) -> [(&'static str, u64); 5] {
    [
        ("0", latencies.min),
        ("0.5", latencies.p50),
        ("0.9", latencies.p90),
        ("0.99", latencies.p99),
        ("1", latencies.max),
    ]
}

/// Families by name.
#[derive(Default)]
struct Families(BTreeMap<String, Family>);

struct Family {
    help: &'static str,
    samples: Vec<(Labels, f64)>,
}

impl Families {
    fn add(&mut self, name: String, help: &'static str, labels: Labels, value: f64) {
        let samples = Vec::new();
        let Family { samples, .. } = self.0.entry(name).or_insert(Family { help, samples });
        // Two samples of the same labels would make the whole file unreadable.
        if !samples.iter().any(|(others, _)| *others == labels) {
            samples.push((labels, value));
        }
    }

    fn write(self, out: &mut Exposition) {
        for (name, Family { help, samples }) in self.0 {
            out.family(&name, help);
            for (labels, value) in samples {
                out.sample(&name, &labels, value);
            }
        }
    }
}

fn labels(trial: &TrialReport) -> Labels {
    let mut labels = vec![("check", trial.check.to_string())];
    if let Some(instance) = &trial.instance {
        labels.push(("from", instance.from().to_string()));
        labels.push(("to", instance.to().to_string()));
    }
    labels
}

fn base_unit(unit: Unit) -> (&'static str, f64) {
    match unit {
        Unit::Microseconds => ("_seconds", 1e-6),
        Unit::Milliseconds => ("_seconds", 1e-3),
        Unit::Seconds => ("_seconds", 1.0),
        Unit::Bytes => ("_bytes", 1.0),
        Unit::Ratio => ("_ratio", 1.0),
        Unit::Count => ("", 1.0),
    }
}

fn metric_name(name: &str, suffix: &str) -> String {
    let valid = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(valid).collect();
    format!("meshproof_{}{suffix}", name.strip_suffix(suffix).unwrap_or(&name))
}

#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge").expect("a String takes everything");
    }
    fn sample(&mut self, name: &str, labels: &[(&str, String)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escape(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        writeln!(self.0, "{name}{labels} {value}").expect("a String takes everything");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::collections::BTreeSet;

    #[test]
    fn the_exposition_is_well_formed() {
        let text = metrics(&fixture::report());
        let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(
                    families.insert(family.split(' ').next().unwrap()),
                    "family twice: {line}"
                );
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            assert!(value.parse::<f64>().is_ok(), "no number: {line}");
            let name = series.split('{').next().unwrap();
            assert!(families.contains(name), "sample without its family: {line}");
            assert!(samples.insert(series), "sample twice: {line}");
        }
        let pair = "from=\"infra\",to=\"apps\",subject=\"infra-1 -> apps-1\"";
        let latency = format!("{{check=\"connectivity::latency\",{pair}");
        for expected in [
            "meshproof_run_exit_code 1".to_owned(),
            "meshproof_trials{suite=\"connectivity\",verdict=\"fail\"} 1".to_owned(),
            "meshproof_trial_verdict{check=\"connectivity::udp\",from=\"infra\",to=\"apps\"} 0".to_owned(),
            "meshproof_trial_verdict{check=\"dns::every_replica\",from=\"apps\",to=\"apps\"} NaN".to_owned(),
            format!("meshproof_round_trip_seconds{latency},quantile=\"0.99\"}} 0.004164"),
            format!("meshproof_round_trip_samples{latency}}} 1000"),
            format!("meshproof_path_mtu_bytes{{check=\"connectivity::path_mtu\",{pair}}} 1420"),
        ] {
            assert!(text.lines().any(|line| line == expected), "missing: {expected}\n{text}");
        }
    }

    #[test]
    fn labels_are_escaped_and_names_valid() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        assert_eq!(metric_name("Round trip", "_seconds"), "meshproof_round_trip_seconds");
        assert_eq!(metric_name("outage_seconds", "_seconds"), "meshproof_outage_seconds");
    }
}
