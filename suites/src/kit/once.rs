//! What is read once for all trials of a run: reads of the same thing wait for the first one, and failures are tried
//! again by the next reader.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OnceCell;

/// What was read, by key. It hangs on [`meshproof_contract::CheckContext::observed`].
#[derive(Debug)]
pub struct Once<K, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Once<K, V> {
    /// What was read before, or else what `read` gives; an error is not kept.
    pub async fn get<E>(&self, key: K, read: impl AsyncFnOnce() -> Result<V, E>) -> Result<V, E> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            cells.entry(key).or_default().clone()
        };
        cell.get_or_try_init(move || read()).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_success_is_kept_and_a_failure_is_not() {
        let once: Once<&str, u32> = Once::default();
        assert_eq!(once.get("a", async || Err("no")).await, Err("no"));
        assert_eq!(once.get("a", async || Ok::<_, &str>(1)).await, Ok(1));
        assert_eq!(once.get("a", async || Ok::<_, &str>(2)).await, Ok(1), "as read before");
        assert_eq!(once.get("b", async || Ok::<_, &str>(3)).await, Ok(3), "another key");
    }
}
