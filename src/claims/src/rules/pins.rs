//! Versions of Cilium that are pinned in several places, and what an upgrade to them asks for.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    layout::{Layout, Pin},
    version::Range,
};
use std::cmp::Ordering;

/// Pins with no version in common.
pub const PINS_DIFFER: Rule = Rule {
    id: "version-pins-differ",
    severity: Severity::Error,
    finds: "Two places pin versions of Cilium for one cluster that have no version in common.",
    reason: "What Flux or Argo CD follows replaces what the bootstrap installed, at once. Cilium supports going up or \
             down by one minor version.",
};

/// No pin, or one that takes in what nobody has tested.
pub const NOT_PINNED: Rule = Rule {
    id: "version-not-pinned",
    severity: Severity::Warning,
    finds: "Cilium's version is not pinned, or to a range with several minor versions.",
    reason: "A new minor version is installed as soon as it is published, without its upgrade notes being read.",
};

/// `upgradeCompatibility` newer than the chart.
pub const UPGRADE_COMPATIBILITY: Rule = Rule {
    id: "upgrade-compatibility",
    severity: Severity::Warning,
    finds: "upgradeCompatibility is not the version that was installed first.",
    reason: "It keeps the defaults of the version with which the cluster was set up; one that is newer than the chart \
             keeps none.",
};

/// Objects of an API that the pinned version does not have.
pub const REMOVED_API: Rule = Rule {
    id: "upgrade-removed-api",
    severity: Severity::Error,
    finds: "An object is of an API that the pinned version of Cilium does not have any more.",
    reason: "The object is refused or has no effect after the upgrade: CiliumBGPPeeringPolicy is gone in 1.19.",
};

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let pins = &context.layout.pins;
    for (at, pin) in pins.iter().enumerate() {
        for earlier in &pins[..at] {
            differ(earlier, pin, out);
        }
        if pin.range.as_ref().is_some_and(spans_minors) {
            let what = format!(
                "{} allows several minor versions ({}): an upgrade happens by itself",
                pin.by, pin.text
            );
            out.add(&NOT_PINNED, pin.place, what);
        }
    }
    for (place, by) in &context.layout.unpinned {
        out.add(
            &NOT_PINNED,
            *place,
            format!("{by} names no version of Cilium: the newest one is installed"),
        );
    }
    for (cluster, values) in context.clusters() {
        let Some(range) = values.text("upgradeCompatibility").and_then(|text| Range::parse(&text)) else {
            continue;
        };
        let newer = pins
            .iter()
            .filter(|pin| Layout::concerns(&pin.roles, &cluster.role))
            .find(|pin| {
                pin.range
                    .as_ref()
                    .is_some_and(|pinned| range.order(pinned) == Some(Ordering::Greater))
            });
        if let Some(pin) = newer {
            let what = format!("upgradeCompatibility is newer than what {} pins ({})", pin.by, pin.text);
            out.add(&UPGRADE_COMPATIBILITY, values.place("upgradeCompatibility"), what);
        }
    }
    for policy in context.of_kind("CiliumBGPPeeringPolicy") {
        let roles = context.roles(policy.file());
        let concerned = pins
            .iter()
            .filter(|pin| pin.roles.is_empty() || !pin.roles.is_disjoint(&roles));
        let gone = concerned
            .into_iter()
            .find(|pin| pin.range.as_ref().is_some_and(|range| range.is_at_least((1, 19, 0))));
        if let Some(pin) = gone {
            let what = format!(
                "CiliumBGPPeeringPolicy {} is gone in 1.19, and {} pins {}: use CiliumBGPClusterConfig",
                policy.name, pin.by, pin.text
            );
            out.add(&REMOVED_API, policy.place, what);
        }
    }
}

fn differ(earlier: &Pin, pin: &Pin, out: &mut Findings) {
    let is_shared = earlier.roles.is_empty() || pin.roles.is_empty() || !earlier.roles.is_disjoint(&pin.roles);
    let (Some(ours), Some(theirs), true) = (&pin.range, &earlier.range, is_shared) else {
        return;
    };
    let effect = match ours.order(theirs) {
        None => return,
        Some(Ordering::Less) => "it takes the cluster down from there",
        Some(_) => "it upgrades the cluster as soon as it runs",
    };
    let what = format!(
        "{} pins Cilium {} and {} pins {}: {effect}",
        pin.by, pin.text, earlier.by, earlier.text
    );
    out.add(&PINS_DIFFER, pin.place, what);
}

/// Whether a range allows more than one minor version above its lowest.
fn spans_minors(range: &Range) -> bool {
    let Some((major, minor, _)) = range.lowest() else {
        return false;
    };
    range.allows_minor(major, minor + 1) || range.allows_minor(major + 1, 0)
}
