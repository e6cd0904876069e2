//! Memory that was needed for a moment, given back.

/// Returns what the allocator holds to the system, where the allocator takes such a hint: after a batch of thousands
/// the process is as small as before. It costs about as much as one probe.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim takes the allocator's own locks and touches nothing that is in use.
        #[allow(unsafe_code)]
        unsafe {
            nix::libc::malloc_trim(0);
        }
    }
}
