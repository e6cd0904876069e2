//! What the trials of one run share, by type: turns that they take, pods that they lend each other.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Shared values of one run, at most one of each type. Runs of one process do not see each other's.
#[derive(Default)]
pub struct RunShared {
    values: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl RunShared {
    /// The run's value of this type; the first call makes it.
    pub fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::<T>::default());
        Arc::clone(value).downcast().expect("the key is the type of the value")
    }
}

impl fmt::Debug for RunShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunShared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn two_runs_share_nothing() {
        let (one, other) = (RunShared::default(), RunShared::default());
        one.of::<AtomicU32>().fetch_add(1, Ordering::Relaxed);
        assert_eq!(one.of::<AtomicU32>().load(Ordering::Relaxed), 1);
        assert_eq!(other.of::<AtomicU32>().load(Ordering::Relaxed), 0);
    }
}
