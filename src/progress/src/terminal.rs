//! Text that fits a terminal and cannot steer it.

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
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_and_behave() {
        assert_eq!(clip("infra-1", 7), "infra-1");
        assert_eq!(clip("infra-12", 7), "infra-…");
        assert_eq!(clip("x", 0), "…");
        assert_eq!(printable("a\u{1b}[31m\nb"), "a [31m b");
        assert_eq!(clock(67.9), "1:07");
    }
}
