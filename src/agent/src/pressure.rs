//! Whether the machine had a CPU for everybody: Linux pressure stall information (Documentation/accounting/psi.rst).

/// Microseconds since boot during which some task waited for a CPU; none where the kernel does not report it.
pub(crate) fn cpu_waited() -> Option<u64> {
    total(&std::fs::read_to_string("/proc/pressure/cpu").ok()?)
}

fn total(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace()
        .find_map(|field| field.strip_prefix("total=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_some_is_read() {
        let text =
            "some avg10=0.12 avg60=0.03 avg300=0.00 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(total(text), Some(1_234_567));
        assert_eq!(total(""), None);
        assert_eq!(total("some total=x"), None);
    }
}
