//! The table of known faults against the checks that there are.

use crate::{ALL, kit::known_fault};

#[test]
fn each_names_a_check_and_its_source() {
    for known in known_fault::ALL {
        let mut checks = ALL.iter().flat_map(|suite| suite.checks);
        assert!(
            checks.any(|check| check.id().as_str() == known.check),
            "no check {}",
            known.check
        );
        let sentences = !known.what.ends_with('.') && known.sign.ends_with('.');
        assert!(known.link.starts_with("https://") && sentences, "{}", known.check);
    }
}
