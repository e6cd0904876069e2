//! What a capture window proves: the conditions under which "no plaintext seen" means something, and the plaintext
//! seen. Pure.

mod ciphertext;
mod conditions;
mod plaintext;

use super::{
    capture_point::CapturePoint,
    claim::{Claimed, Mode},
    flow::Flow,
    window::Window,
};
use meshproof_contract::{CaptureReport, CheckContext, Evidence, Tally, capture::DeviceCapture, evidence::Packet};
use std::collections::{BTreeMap, BTreeSet};

/// How many plaintext flows get a finding of their own.
const FINDINGS: usize = 12;
/// Devices that a sentence names.
const DEVICES: usize = 12;
/// Packets kept as evidence.
const PACKETS: usize = 24;

/// A window, taken apart.
pub struct Reading<'a> {
    window: &'a Window,
    captured: Vec<(&'a CapturePoint, &'a CaptureReport)>,
    /// What keeps absence from proving anything.
    blind: Vec<String>,
    /// Flows that did not arrive, with why.
    lost: Vec<String>,
    plaintext: Vec<Packet>,
}

impl<'a> Reading<'a> {
    /// Reads a window.
    pub fn of(window: &'a Window) -> Self {
        let captured = window.captures.iter();
        let captured = captured.filter_map(|(point, report)| Some((point, report.as_ref().ok()?)));
        let captured: Vec<_> = captured.collect();
        Self {
            blind: conditions::blind(window),
            lost: conditions::lost(window),
            plaintext: plaintext::find(window, &captured),
            window,
            captured,
        }
    }

    /// Whether another window might show more: something was lost, or the capture saw too little.
    pub fn needs_retry(&self) -> bool {
        self.plaintext.is_empty() && !self.is_sound()
    }

    /// Whether everything was captured and everything arrived.
    fn is_sound(&self) -> bool {
        self.blind.is_empty() && self.lost.is_empty()
    }

    /// Concludes. No plaintext may be seen of traffic that is claimed to be encrypted, and plaintext must be seen of
    /// traffic that is claimed not to be. Plaintext that must not be is left as evidence.
    pub fn conclude(&self, context: &CheckContext, claimed: &Claimed, subject: &str, tally: &mut Tally) {
        for why in self.blind.iter().chain(&self.lost) {
            tally.unknown(why);
        }
        match claimed.mode {
            Mode::None => self.conclude_unencrypted(claimed, subject, tally),
            Mode::WireGuard | Mode::Ipsec => {
                self.report_plaintext(claimed, subject, tally);
                self.conclude_encrypted(claimed, subject, tally);
                for packet in self.plaintext.iter().take(PACKETS) {
                    context.evidence(Evidence::Packet(packet.clone()));
                }
            }
        }
    }

    fn report_plaintext(&self, claimed: &Claimed, subject: &str, tally: &mut Tally) {
        let mut by_flow: BTreeMap<(&str, &str), Vec<&Packet>> = BTreeMap::new();
        for packet in &self.plaintext {
            // Readable payloads come first, since they are worse than readable addresses.
            let key = (packet.meaning.as_str(), packet.flow.as_str());
            by_flow.entry(key).or_default().push(packet);
        }
        let expected = || claimed.expects("no plaintext between nodes");
        for ((meaning, flow), packets) in by_flow.iter().take(FINDINGS) {
            tally.finding(*flow, expected(), format!("{meaning}: {}", plaintext::places(packets)));
        }
        if by_flow.len() > FINDINGS {
            let more = by_flow.len() - FINDINGS;
            tally.finding(
                subject,
                expected(),
                format!("plaintext of {more} more flows; see the evidence"),
            );
        }
    }

    fn conclude_encrypted(&self, claimed: &Claimed, subject: &str, tally: &mut Tally) {
        self.count_ciphertext(claimed.mode, tally);
        if !self.plaintext.is_empty() || !self.is_sound() {
            return;
        }
        let flows = self.window.flows.iter().map(|(flow, ..)| flow);
        let (withheld, sent): (Vec<&Flow>, Vec<&Flow>) = flows.partition(|flow| flow.withheld);
        if !withheld.is_empty() {
            tally.witness(format!(
                "{} probes of {subject} to an address without a known key got no answer; none of their packets was \
                 seen on {}",
                withheld.len(),
                self.devices(),
            ));
        }
        tally.witness(format!(
            "{} flows of {subject} arrived, {} of them on another node; none was readable on {}",
            sent.len(),
            self.crossing().count(),
            self.devices(),
        ));
        tally.witness(format!(
            "{} controls sent in plaintext were seen on the same devices; the kernels dropped none of {} packets",
            self.window.controls.len(),
            self.packets(),
        ));
    }

    fn conclude_unencrypted(&self, claimed: &Claimed, subject: &str, tally: &mut Tally) {
        let readable: BTreeSet<&str> = self.plaintext.iter().map(|packet| packet.flow.as_str()).collect();
        // What stayed on its node was not on the wire.
        let crossing = self.crossing().map(|(flow, ..)| flow);
        let marked: Vec<&Flow> = crossing.filter(|flow| flow.needle.is_some()).collect();
        let names = marked.iter().map(|flow| flow.name.as_str());
        let hidden: Vec<&str> = names.filter(|name| !readable.contains(name)).collect();
        let expected = || claimed.expects("plaintext between nodes");
        if self.is_sound() && !hidden.is_empty() {
            tally.finding(
                subject,
                expected(),
                format!(
                    "{} of {} flows arrived and were not readable on any device, for example {}",
                    hidden.len(),
                    marked.len(),
                    hidden[0]
                ),
            );
        }
        if hidden.is_empty() && !self.plaintext.is_empty() {
            tally.witness(format!(
                "plaintext by design ({}): {} flows of {subject} were readable on {}, and so were the controls",
                claimed.by,
                marked.len().max(readable.len()),
                self.devices()
            ));
        } else if marked.is_empty() && self.is_sound() {
            tally.finding(
                subject,
                expected(),
                "none of the packets between the pods was readable on any device",
            );
        }
    }

    /// The devices captured on, as `infra-1/eth0, infra-2/eth0`; of many the first, and how many more.
    fn devices(&self) -> String {
        let one = |(point, report): &(&CapturePoint, &CaptureReport)| {
            let place = point.node.label();
            let on = |device: &DeviceCapture| format!("{place}/{}", device.device);
            report.devices.iter().map(on).collect::<Vec<_>>()
        };
        let mut devices: Vec<String> = self.captured.iter().flat_map(one).collect();
        let more = devices.len().saturating_sub(DEVICES);
        devices.truncate(DEVICES);
        match more {
            0 => devices.join(", "),
            more => format!("{} and {more} more devices", devices.join(", ")),
        }
    }

    fn packets(&self) -> u64 {
        let devices = self.captured.iter().flat_map(|(_, report)| &report.devices);
        devices.map(|device| device.packets).sum()
    }
}
