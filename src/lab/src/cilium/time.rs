//! Points in time and durations as Cilium (Go) prints them.

use jiff::Timestamp;
use std::time::{Duration, SystemTime};

/// What Go prints for a time that never was.
pub const NEVER: &str = "0001-01-01T00:00:00.000Z";

/// RFC 3339 with milliseconds (`strfmt.DateTime`).
pub fn millis(time: SystemTime) -> String {
    format!("{:.3}", timestamp(time))
}

/// The same, or [`NEVER`].
pub fn millis_or_never(time: Option<SystemTime>) -> String {
    time.map_or_else(|| NEVER.to_owned(), millis)
}

/// RFC 3339 with seconds (`time.RFC3339`).
pub fn seconds(time: SystemTime) -> String {
    format!("{:.0}", timestamp(time))
}

/// RFC 3339 with nanoseconds, as protobuf's JSON has it.
pub fn nanos(time: SystemTime) -> String {
    format!("{:.9}", timestamp(time))
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A duration as Go prints it: `2m11.83347464s`, `350ms`, `0s`.
pub fn duration(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    let seconds = duration.as_secs();
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", decimal(u64::from(nanos), 1_000)),
            _ => format!("{}ms", decimal(u64::from(nanos), 1_000_000)),
        };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal((seconds % 60) * 1_000_000_000 + u64::from(nanos), 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// How long ago, in whole seconds, as the status text has it.
pub fn ago(now: SystemTime, then: SystemTime) -> String {
    let passed = now.duration_since(then).unwrap_or_default();
    format!("{} ago", duration(Duration::from_secs(passed.as_secs())))
}

fn decimal(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        let cases = [
            (Duration::from_nanos(131_833_474_640), "2m11.83347464s"),
            (Duration::from_secs(3600), "1h0m0s"),
            (Duration::from_secs(460), "7m40s"),
            (Duration::from_millis(1500), "1.5s"),
            (Duration::from_micros(2500), "2.5ms"),
            (Duration::ZERO, "0s"),
        ];
        for (duration, text) in cases {
            assert_eq!(super::duration(duration), text);
        }
    }

    #[test]
    fn times_have_the_precision_of_the_recordings() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_717_332_520);
        assert_eq!(millis(time), "2025-11-21T09:28:52.520Z");
        assert_eq!(seconds(time), "2025-11-21T09:28:52Z");
        assert_eq!(millis_or_never(None), NEVER);
    }
}
