//! Versions as Kubernetes, kernels and images write them.

/// The first two numbers of a version: 1.18 of `v1.18.3`, 6.18 of `6.18.44-fc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minor {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl Minor {
    /// Of these numbers.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
    /// Reads the beginning of a version; none if it does not begin with two numbers.
    pub fn read(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some(Self::new(next()?, next()?))
    }
}

impl std::fmt::Display for Minor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The oldest kernel that a version of Cilium runs on (its documentation, system requirements).
pub fn least_kernel(cilium: Minor) -> Minor {
    match cilium {
        cilium if cilium >= Minor::new(1, 18) => Minor::new(5, 10),
        cilium if cilium >= Minor::new(1, 16) => Minor::new(5, 4),
        _ => Minor::new(4, 19),
    }
}

/// Whether it is a kernel of RHEL 8, which has what Cilium needs by backports (the same documentation).
pub fn is_rhel8(kernel: &str) -> bool {
    kernel.starts_with("4.18.") && kernel.contains(".el8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        for (text, expected) in [
            ("v1.36.2", Some(Minor::new(1, 36))),
            ("6.18.44-fc-v657", Some(Minor::new(6, 18))),
            ("1.18", Some(Minor::new(1, 18))),
            ("v1.31.1+k3s1", Some(Minor::new(1, 31))),
            ("latest", None),
            ("", None),
        ] {
            assert_eq!(Minor::read(text), expected, "{text}");
        }
        assert!(Minor::new(5, 10) > Minor::new(5, 4));
        assert_eq!(least_kernel(Minor::new(1, 17)).to_string(), "5.4");
        assert!(is_rhel8("4.18.0-553.el8_10.x86_64") && !is_rhel8("4.19.112"));
    }
}
