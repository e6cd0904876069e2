//! The entry point of the fuzz target `kubeconfig`.

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

/// Any bytes as a kubeconfig file: it gives configurations, or errors of one line.
///
/// # Panics
/// When an error has several lines.
pub fn kubeconfig(bytes: &[u8]) {
    crate::context::kubeconfig::fuzz(bytes);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_and_its_mutations() {
        super::replay::replay("kubeconfig", 3_000, super::kubeconfig);
    }
}
