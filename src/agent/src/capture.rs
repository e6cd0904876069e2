//! The capture role: watching devices for plaintext, and counting the ciphertext that should be there instead.

mod dissect;
mod links;
mod needles;
mod packet_socket;
mod tally;

use meshproof_contract::{CaptureReport, CaptureSpec};
use needles::NeedleSet;
use packet_socket::PacketSocket;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tally::DeviceTally;
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, timeout_at},
};

/// As many checks may watch a node at the same time.
const MOST_CAPTURES: usize = 32;
const MOST_DEVICES: usize = 64;
const MOST_NEEDLES: usize = 4096;
const LONGEST: u32 = 3600;
/// Packets taken from a device before other work has its turn.
const BURST: usize = 64;

/// The captures of an agent.
#[derive(Default)]
pub(crate) struct Captures(Mutex<HashMap<u64, Capture>>);

struct Capture {
    devices: Vec<Arc<Device>>,
    left_out: Vec<String>,
    until: Instant,
    /// Dropping it ends the capture.
    _tasks: JoinSet<()>,
}

struct Device {
    socket: PacketSocket,
    tally: Mutex<DeviceTally>,
}

impl Captures {
    /// Starts a capture: when this returns, packets are seen. The error is for people.
    pub(crate) fn start(&self, number: u64, spec: CaptureSpec) -> Result<(), String> {
        let (names, left_out) = watched(&spec)?;
        check(&spec, &names)?;
        let mut captures = self.lock();
        if captures.contains_key(&number) {
            return Err(format!(
                "capture {number} already exists: stop it first, or choose another number"
            ));
        }
        let now = Instant::now();
        if captures.len() >= MOST_CAPTURES {
            captures.retain(|_, capture| capture.until > now);
        }
        if captures.len() >= MOST_CAPTURES {
            return Err(format!(
                "an agent runs at most {MOST_CAPTURES} captures: stop one first"
            ));
        }
        let until = now + Duration::from_secs(spec.seconds.into());
        let needles = Arc::new(NeedleSet::new(&spec.needles));
        let mut devices = Vec::new();
        for name in &names {
            let device = Arc::new(Device {
                socket: PacketSocket::open(name)?,
                tally: Mutex::new(DeviceTally::new(name, Arc::clone(&needles), &spec)),
            });
            devices.push(device);
        }
        let mut tasks = JoinSet::new();
        for device in &devices {
            let device = Arc::clone(device);
            tasks.spawn(async move { device.watch(until).await });
        }
        let capture = Capture {
            devices,
            left_out,
            until,
            _tasks: tasks,
        };
        captures.insert(number, capture);
        Ok(())
    }

    /// What was seen up to now.
    pub(crate) fn collect(&self, number: u64) -> Result<CaptureReport, String> {
        self.lock()
            .get(&number)
            .map(Capture::report)
            .ok_or_else(|| unknown(number))
    }

    /// Ends a capture.
    pub(crate) fn stop(&self, number: u64) -> Result<CaptureReport, String> {
        let capture = self.lock().remove(&number);
        capture.map(|capture| capture.report()).ok_or_else(|| unknown(number))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Capture>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(number: u64) -> String {
    format!("unknown capture {number}")
}

/// The devices that a specification asks for, and the links that are none of them.
fn watched(spec: &CaptureSpec) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut names, mut left_out) = (spec.devices.clone(), Vec::new());
    let Some(but) = &spec.others_but else {
        return Ok((names, left_out));
    };
    let links = links::list().map_err(|error| format!("failed to list the links of the node: {error}"))?;
    for link in links.into_iter().filter(|link| !spec.devices.contains(&link.name)) {
        if link.leads_out(but) {
            names.push(link.name);
        } else {
            left_out.push(link.name);
        }
    }
    Ok((names, left_out))
}

fn check(spec: &CaptureSpec, names: &[String]) -> Result<(), String> {
    if names.is_empty() || names.len() > MOST_DEVICES {
        return Err(format!(
            "a capture watches 1 to {MOST_DEVICES} devices, not {}",
            names.len()
        ));
    }
    if spec.needles.len() > MOST_NEEDLES {
        return Err(format!("a capture looks for at most {MOST_NEEDLES} needles"));
    }
    if !(1..=LONGEST).contains(&spec.seconds) {
        return Err(format!("a capture lasts 1 to {LONGEST} s"));
    }
    Ok(())
}

impl Capture {
    fn report(&self) -> CaptureReport {
        let ended = self.until <= Instant::now();
        let report = |device: &Arc<Device>| {
            if !ended {
                // What the kernel holds already was sent before the question.
                device.take(usize::MAX);
            }
            let mut tally = device.tally();
            tally.dropped(device.socket.drops());
            tally.report()
        };
        CaptureReport {
            devices: self.devices.iter().map(report).collect(),
            left_out: self.left_out.clone(),
            ended,
        }
    }
}

impl Device {
    fn tally(&self) -> MutexGuard<'_, DeviceTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(&self, until: Instant) {
        while let Ok(Ok(())) = timeout_at(until, self.socket.readable()).await {
            if !self.take(BURST) {
                return;
            }
            yield_now().await;
        }
    }

    /// Takes up to `most` packets from the kernel; false when there will be no more.
    fn take(&self, most: usize) -> bool {
        let mut tally = self.tally();
        for _ in 0..most {
            match self.socket.next(|packet| tally.packet(packet)) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    tally.broken(&error);
                    return false;
                }
            }
        }
        true
    }
}
