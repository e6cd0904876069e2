//! From the file as written to what the program uses; what only its meaning shows to be wrong is found here.

use super::{
    Config, ConfigError, Declared, Flows, Required, Waivers,
    file::{ConfigFile, NodePowerEntry, OutsideEntry},
};
use crate::mesh_outage;
use meshproof_contract::OutsideFacts;
use serde_saphyr::Location;

pub(super) fn resolve(path: &str, file: ConfigFile) -> Result<Config, ConfigError> {
    if let Some(NodePowerEntry { cut, restore }) = &file.node_power {
        for (key, command) in [("cut", cut), ("restore", restore)] {
            if command.first().is_none_or(String::is_empty) {
                let reason = format!("nodePower.{key} must name a command");
                return Err(ConfigError::at(path, Location::UNKNOWN, reason));
            }
        }
    }
    if let Some(jobs) = file.jobs.as_ref().filter(|jobs| jobs.value == 0) {
        return Err(ConfigError::at(
            path,
            jobs.referenced,
            "jobs must be at least 1".to_owned(),
        ));
    }
    let spacing = file.stream_spacing_ms.as_ref();
    if let Some(spacing) = spacing.filter(|spacing| !(1..=1000).contains(&spacing.value)) {
        return Err(ConfigError::at(
            path,
            spacing.referenced,
            "streamSpacingMs must be between 1 and 1000".to_owned(),
        ));
    }
    let outage = file.mesh_outage.map(|span| span.0);
    if let Some(Err(reason)) = outage.map(mesh_outage::verify) {
        return Err(ConfigError::at(path, Location::UNKNOWN, format!("meshOutage {reason}")));
    }
    Ok(Config {
        claims: Declared::of(path, file.claims)?,
        thresholds: file.thresholds,
        outside: file.outside.into_iter().map(outside).collect(),
        flows: Flows::of(path, file.flows),
        required: Required::of(path, file.required),
        waivers: Waivers::of(path, file.waivers)?,
        disruptive: file.disruptive.unwrap_or(false),
        node_power: file.node_power,
        contexts: file.contexts,
        image: file.image,
        pull_policy: file.pull_policy,
        image_pull_secret: file.image_pull_secret,
        timeout: file.timeout.map(|span| span.0),
        stream_spacing_ms: file.stream_spacing_ms.map(|spacing| spacing.value),
        mesh_outage: outage,
        ready_timeout: file.ready_timeout.map(|span| span.0),
        jobs: file.jobs.map(|jobs| jobs.value),
        report_dir: file.report_dir,
    })
}

fn outside(entry: OutsideEntry) -> OutsideFacts {
    OutsideFacts {
        name: entry.name,
        port: entry.port.get(),
    }
}
