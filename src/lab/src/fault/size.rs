//! How much a fault does, where that is a figure: a share, a time. A size is a multiple of what is promised, so that
//! `loss-cluster@0.5` loses half of what `thresholds.availability` allows, and `loss-cluster@3` three times the loss
//! that a run finds for certain.

use super::{Fault, FaultSpec};
use std::{fmt, str::FromStr, time::Duration};

/// The sizes with which `meshproof prove` injects a fault: the first must go unnoticed, the others must not.
pub const SIZES: [f64; 3] = [0.5, 1.5, 3.0];

/// The figures of a fault that has a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The most that no check may mind.
    pub allowed: Amount,
    /// The least that some check must find.
    pub found: Amount,
    /// The size of the fault where none is given.
    pub usual: f64,
}

/// How much a fault does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Of all packets, questions or connections.
    Share(f64),
    /// Longer, later or older by so much.
    Time(Duration),
    /// So much time is left: less is worse.
    Left(Duration),
}

const DAY: Duration = Duration::from_secs(86_400);
/// What `thresholds.availability` allows to be lost by default, and what is found with 99 %.
const LOSS: Figures = share(0.001, 0.01, 2.0);

const fn share(allowed: f64, found: f64, usual: f64) -> Figures {
    Figures {
        allowed: Amount::Share(allowed),
        found: Amount::Share(found),
        usual,
    }
}

const fn times(allowed: u64, found: u64, usual: f64) -> Figures {
    Figures {
        allowed: Amount::Time(Duration::from_millis(allowed)),
        found: Amount::Time(Duration::from_millis(found)),
        usual,
    }
}

/// The figures of a fault; none where it either acts or does not. The thresholds are the defaults, and those of the
/// lab where it promises more.
pub fn figures(fault: Fault) -> Option<Figures> {
    Some(match fault {
        Fault::LossCluster | Fault::LossMesh | Fault::LossSameNode => LOSS,
        Fault::DnsLossy | Fault::ServiceStaleBackendOnNode => LOSS,
        // `thresholds.apiLatency`.
        Fault::ApiServerSlow => times(1_000, 1_000, 2.0),
        // What a node's clock may be ahead, and by how much more the time of a renewal is known.
        Fault::ClockWrong => times(5_000, 8_000, 4.0),
        // `thresholds.dnsLatency`.
        Fault::DnsSlow => times(100, 100, 8.0),
        // One way, so half of a round trip: an outlier among its neighbours has 20 ms at least.
        Fault::LatencyCluster => times(10, 15, 4.0),
        // One way: `thresholds.crossClusterOverhead` is 50 ms.
        Fault::LatencyMesh => times(25, 25, 8.0),
        // The operators of the lab promise 200 ms of their portal, of which DNS and the network may take half.
        Fault::FlowServerSlow => times(100, 200, 2.0),
        // `thresholds.propagation` of the lab.
        Fault::MeshPropagationSlow => times(5_000, 5_000, 2.4),
        // `thresholds.policyEnforcement` of the lab.
        Fault::PolicyEnforcedLate => times(6_000, 6_000, 1.35),
        // `thresholds.endpointRemoval`.
        Fault::EndpointRemovalLate => times(2_000, 2_000, 1.5),
        // WireGuard rejects what is older than 180 s; clocks of nodes may differ by 10 s.
        Fault::WireguardHandshakeStale => times(180_000, 190_000, 3.0),
        Fault::MeshCertificateExpiring => Figures {
            allowed: Amount::Left(DAY.saturating_mul(7)),
            found: Amount::Left(DAY.saturating_mul(7)),
            usual: 3.5,
        },
        _ => return None,
    })
}

impl FaultSpec {
    /// Whether it has a size.
    pub fn has_size(&self) -> bool {
        figures(self.fault).is_some()
    }

    /// What is wrong while it is in force, and how much at this size, or at its usual one.
    pub fn told(&self, size: Option<f64>) -> String {
        match figures(self.fault) {
            None => self.what.to_owned(),
            Some(figures) => format!("{}: {}", self.what, figures.at(size.unwrap_or(figures.usual))),
        }
    }
}

impl Figures {
    /// What the fault does at this size: below 1 of what is allowed, from 1 of what is found.
    pub fn at(self, size: f64) -> Amount {
        let of = if size < 1.0 { self.allowed } else { self.found };
        match of {
            Amount::Share(share) => Amount::Share((share * size).min(1.0)),
            Amount::Time(time) => Amount::Time(time.mul_f64(size)),
            Amount::Left(time) => Amount::Left(time.div_f64(size)),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Share(share) => write!(f, "{} %", (share * 1e5).round() / 1e3),
            Amount::Time(time) | Amount::Left(time) if *time >= DAY => {
                write!(f, "{:.1} days", time.as_secs_f64() / DAY.as_secs_f64())
            }
            Amount::Time(time) | Amount::Left(time) if time.as_millis() < 1000 => {
                write!(f, "{} ms", time.as_micros() as f64 / 1e3)
            }
            Amount::Time(time) | Amount::Left(time) => write!(f, "{} s", time.as_millis() as f64 / 1e3),
        }
    }
}

/// A fault and its size, as people write them: `loss-cluster`, or `loss-cluster@0.5`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizedFault {
    /// The fault.
    pub fault: Fault,
    /// Its size, if it has one.
    pub size: Option<f64>,
}

/// Why a text names no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFault {
    /// The catalogue has no such name.
    #[error("unknown fault {name:?}; `meshproof prove --list` lists all faults")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// The fault either acts or does not.
    #[error("{name} has no size; write it without @{size}")]
    NoSize {
        /// The fault.
        name: &'static str,
        /// What was asked for.
        size: String,
    },
    /// The size is not a number above 0.
    #[error("invalid size {size:?} of {name}: give a multiple of its threshold, such as 1.5")]
    Size {
        /// The fault.
        name: &'static str,
        /// What was asked for.
        size: String,
    },
}

impl FromStr for SizedFault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let (name, size) = match text.split_once('@') {
            Some((name, size)) => (name, Some(size)),
            None => (text, None),
        };
        let fault = Fault::named(name).ok_or_else(|| UnknownFault::Name { name: name.to_owned() })?;
        let (name, figures) = (fault.name(), figures(fault));
        let size = match (size, figures) {
            (None, figures) => figures.map(|figures| figures.usual),
            (Some(size), None) => {
                let size = size.to_owned();
                return Err(UnknownFault::NoSize { name, size });
            }
            (Some(text), Some(_)) => {
                let size = text.parse().ok().filter(|size: &f64| size.is_finite() && *size > 0.0);
                Some(size.ok_or_else(|| UnknownFault::Size {
                    name,
                    size: text.to_owned(),
                })?)
            }
        };
        Ok(Self { fault, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> String {
        let fault: SizedFault = text.parse().expect("a fault");
        let figures = figures(fault.fault).expect("figures");
        figures.at(fault.size.expect("a size")).to_string()
    }

    #[test]
    fn a_size_is_a_multiple_of_what_is_promised_below_one_and_of_what_is_found_above() {
        assert_eq!(amount("loss-cluster@0.5"), "0.05 %");
        assert_eq!(amount("loss-cluster@1.5"), "1.5 %");
        assert_eq!(amount("loss-cluster"), "2 %");
        assert_eq!(amount("latency-cluster"), "60 ms");
        assert_eq!(amount("dns-slow@0.5"), "50 ms");
        assert_eq!(amount("mesh-propagation-slow"), "12 s");
        assert_eq!(amount("mesh-certificate-expiring@0.5"), "14.0 days");
        assert_eq!(amount("mesh-certificate-expiring"), "2.0 days");
    }

    #[test]
    fn what_is_no_fault_or_no_size_is_refused() {
        let error = |text: &str| text.parse::<SizedFault>().map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error("los-cluster@2"),
            "unknown fault \"los-cluster\"; `meshproof prove --list` lists all faults"
        );
        assert_eq!(error("udp-dropped@2"), "udp-dropped has no size; write it without @2");
        for size in ["", "0", "-1", "inf", "x"] {
            assert!(error(&format!("dns-slow@{size}")).starts_with("invalid size"), "{size}");
        }
    }
}
