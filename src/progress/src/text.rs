//! Times, counts and widths as people read them.

use meshproof_contract::event::Phase;

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

/// `0:07`, `12:34`, as a clock that runs.
pub(crate) fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    format!("{}:{:02}", whole / 60, whole % 60)
}

/// At most `width` characters, the last of which is an ellipsis when something was cut.
pub(crate) fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(width.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}

/// One line without control characters: what a cluster sends must not steer the terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A phase as a word.
pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Booting => "booting the lab",
        Phase::Discovering => "discovering",
        Phase::Deploying => "deploying",
        Phase::Checking => "checking",
        Phase::CleaningUp => "cleaning up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_and_behave() {
        assert_eq!(clip("infra-1", 7), "infra-1");
        assert_eq!(clip("infra-12", 7), "infra-…");
        assert_eq!(clip("x", 0), "…");
        assert_eq!(tame("a\u{1b}[31m\nb"), "a [31m b");
        assert_eq!(clock(67.9), "1:07");
        assert_eq!(duration(59.96), "60.0 s");
    }
}
