//! Times and counts as people read them.

/// `0.32 s`, `18.3 s`, `2 min 05 s`.
pub fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// Three significant digits, without trailing zeros after the point.
pub fn significant(value: f64) -> String {
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

/// The text with a capital first letter.
pub fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map(|first| first.to_uppercase().chain(rest).collect())
        .unwrap_or_default()
}

/// `1 check`, `2 checks`.
pub fn counted(number: usize, singular: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        _ => format!("{number} {singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(duration(0.324), "0.32 s");
        assert_eq!(duration(59.96), "60.0 s");
        assert_eq!(duration(125.2), "2 min 05 s");
        assert_eq!(significant(2.5), "2.5");
        assert_eq!(capitalized("path MTU"), "Path MTU");
        assert_eq!(
            (counted(1, "pair"), counted(2, "pair")),
            ("1 pair".to_owned(), "2 pairs".to_owned())
        );
    }
}
