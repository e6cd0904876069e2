//! The entry point of the fuzz target `config`.

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

use crate::config::Config;
use std::path::Path;

/// Any text as `meshproof.yaml`: a configuration, or an error of one line that names the file.
///
/// # Panics
/// When the error is of another form.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = Config::parse(text, Path::new("meshproof.yaml")) {
        let error = error.to_string();
        assert_eq!(error.lines().count(), 1, "{error:?}");
        assert!(error.starts_with("meshproof.yaml:"), "{error:?}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_and_its_mutations() {
        super::replay::replay("config", 5_000, super::config);
    }
}
