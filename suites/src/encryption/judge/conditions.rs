//! The conditions without which a capture proves nothing: the controls were seen, no packet was dropped, all arrived.

use super::super::{capture_point::CapturePoint, window::Window};
use meshproof_contract::CaptureReport;

/// What keeps the absence of plaintext in a window from proving anything.
pub fn blind(window: &Window) -> Vec<String> {
    let mut blind = Vec::new();
    for (point, report) in &window.captures {
        match report {
            Ok(report) => incomplete(point, report, &mut blind),
            Err(error) => blind.push(format!("{}: the capture failed: {error}", point.node.label())),
        }
    }
    for control in &window.controls {
        for (end, way) in [(Some(control.from), "sent"), (control.to, "received")] {
            let Some((point, Ok(report))) = end.map(|at| &window.captures[at]) else {
                continue;
            };
            let mut hits = report.devices.iter().flat_map(|device| &device.hits);
            if !hits.any(|hit| hit.needle == control.needle) {
                blind.push(format!(
                    "{}: the control {way} there in plaintext was not seen on {}: it took a path that is not \
                     captured, or it was encrypted",
                    point.node.label(),
                    devices(report)
                ));
            }
        }
    }
    blind.sort();
    blind.dedup();
    blind
}

/// The names of the devices in a report.
fn devices(report: &CaptureReport) -> String {
    let names: Vec<&str> = report.devices.iter().map(|device| device.device.as_str()).collect();
    names.join(", ")
}

/// Packets of a capture point that nobody looked at.
fn incomplete(point: &CapturePoint, report: &CaptureReport, blind: &mut Vec<String>) {
    let at = point.node.label();
    if report.ended {
        blind.push(format!("{at}: the capture ended before the traffic did"));
    }
    for device in &report.devices {
        if device.dropped > 0 {
            blind.push(format!(
                "{at}: the kernel dropped {} of {} packets on {} before the capture could read them",
                device.dropped,
                device.packets + device.dropped,
                device.device
            ));
        }
        if let Some(why) = &device.broken {
            blind.push(format!("{at}: the capture on {} broke off: {why}", device.device));
        }
    }
}

/// The flows that did not arrive, or arrived although nobody should have got them.
pub fn lost(window: &Window) -> Vec<String> {
    let why = |flow: &super::Flow, problem: &str, outcome: &dyn std::fmt::Display| {
        format!("{}: {problem}: {outcome}", flow.name)
    };
    let flows = window.flows.iter();
    flows
        .filter_map(|(flow, outcome, _)| match outcome {
            Ok(outcome) if (flow.arrived)(outcome) => None,
            Ok(outcome) if flow.withheld => Some(why(flow, "proves nothing, since it should not be answered", outcome)),
            Ok(outcome) => Some(why(flow, "proves nothing, since it did not arrive", outcome)),
            Err(error) => Some(format!("{}: {error}", flow.name)),
        })
        .collect()
}
