//! Figures and times as people read them.

use meshproof_contract::{Unit, event::Phase};

/// `0.32 s`, `18.3 s`, `2 min 05 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// A value in the largest unit that keeps it readable: `412 µs`, `2.35 ms`, `1420 B`, `0.97`.
pub(crate) fn quantity(value: f64, unit: Unit) -> String {
    let micros = match unit {
        Unit::Microseconds => value,
        Unit::Milliseconds => value * 1e3,
        Unit::Seconds => value * 1e6,
        Unit::Bytes => return format!("{value:.0} B"),
        Unit::Count => return significant(value),
        Unit::Ratio => return format!("{value:.3}"),
    };
    if micros.abs() < 1e3 {
        format!("{micros:.0} µs")
    } else if micros.abs() < 1e6 {
        format!("{} ms", significant(micros / 1e3))
    } else {
        format!("{} s", significant(micros / 1e6))
    }
}

/// Three significant digits, without trailing zeros after the point.
pub(crate) fn significant(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `cross_cluster_overhead` as words.
pub(crate) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// A phase as a heading.
pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Booting => "booting the lab",
        Phase::Discovering => "discovering",
        Phase::Deploying => "deploying",
        Phase::Checking => "checking",
        Phase::CleaningUp => "cleaning up",
    }
}

/// The text with a capital first letter.
pub(crate) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map(|first| first.to_uppercase().chain(rest).collect())
        .unwrap_or_default()
}

/// `1 check`, `2 checks`.
pub(crate) fn counted(number: usize, singular: &str) -> String {
    if number == 1 {
        format!("1 {singular}")
    } else {
        format!("{number} {singular}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(duration(0.324), "0.32 s");
        assert_eq!(duration(125.2), "2 min 05 s");
        assert_eq!(quantity(412.0, Unit::Microseconds), "412 µs");
        assert_eq!(quantity(2350.0, Unit::Microseconds), "2.35 ms");
        assert_eq!(quantity(0.4, Unit::Seconds), "400 ms");
        assert_eq!(quantity(1420.0, Unit::Bytes), "1420 B");
        assert_eq!(quantity(1000.0, Unit::Count), "1000");
        assert_eq!(significant(2.5), "2.5");
    }
}
