//! Quantities of resources: `5m`, `1.5`, `16Mi`, `64M`. In thousandths, so that CPU has whole numbers.

/// A quantity in thousandths; none where it is not one.
pub(super) fn milli(text: &str) -> Option<i128> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: i128 = match &text[digits.len()..] {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        _ => return None,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: i128 = whole.parse().ok()?;
    let part = match part {
        "" => 0,
        part => part.parse::<i128>().ok()? * factor / 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?,
    };
    Some(whole * factor + part)
}

/// As Kubernetes prints it: in the unit in which it was given, as far as that is a whole number.
pub(super) fn text(milli: i128, like: &str) -> String {
    let units: [(&str, i128); 4] = [
        ("Gi", 1_000 << 30),
        ("Mi", 1_000 << 20),
        ("Ki", 1_000 << 10),
        ("", 1_000),
    ];
    let binary = like.ends_with('i');
    let mut fitting = units
        .iter()
        .filter(|(unit, factor)| (binary || unit.is_empty()) && milli % factor == 0);
    match fitting.next() {
        Some((unit, factor)) => format!("{}{unit}", milli / factor),
        None => format!("{milli}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_printed() {
        assert_eq!(milli("5m"), Some(5));
        assert_eq!(milli("1.5"), Some(1_500));
        assert_eq!(milli("16Mi"), Some(16 * 1024 * 1024 * 1000));
        assert_eq!(milli("x"), None);
        assert_eq!(text(500, "1"), "500m");
        assert_eq!(text(48 * 1024 * 1024 * 1000, "16Mi"), "48Mi");
        assert_eq!(text(3_000, "1"), "3");
    }
}
