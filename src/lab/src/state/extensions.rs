//! What rooms above the state keep in it, by type: the state holds it without knowing it.

use crate::sync::lock;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Values of others, at most one of each type.
#[derive(Default)]
pub(super) struct Extensions(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Extensions {
    /// The value of this type; the first call makes it.
    pub(super) fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = lock(&self.0);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::<T>::default());
        Arc::clone(value).downcast().expect("the key is the type of the value")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    #[test]
    fn each_type_has_one_value_and_each_holder_its_own() {
        let (one, other) = (Extensions::default(), Extensions::default());
        one.of::<AtomicU32>().store(1, Ordering::Relaxed);
        assert_eq!(one.of::<AtomicU32>().load(Ordering::Relaxed), 1);
        assert_eq!(one.of::<AtomicU64>().load(Ordering::Relaxed), 0);
        assert_eq!(other.of::<AtomicU32>().load(Ordering::Relaxed), 0);
    }
}
