//! Lists: selectors, pages, and states of the recent past.

use super::{Key, Kind, ListOptions, Store, history::Change, watch};
use crate::{
    error::{ApiError, Reason},
    object::Object,
    resource::Resource,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The objects of a resource at one version.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// In the order of namespace and name.
    pub items: Vec<Object>,
    /// The version at which this was the state; a watch may begin after it.
    pub version: u64,
    /// Token of the next page, when `limit` cut the list.
    pub continue_token: Option<String>,
    /// How many objects are on later pages; unknown (none) with selectors, as in Kubernetes.
    pub remaining: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Continue {
    rv: u64,
    namespace: String,
    name: String,
}

impl Store {
    /// Lists a resource, in one namespace or (none) in all. 410 when a page or version is too old.
    pub fn list(&self, resource: &Resource, namespace: Option<&str>, options: &ListOptions) -> Result<List, ApiError> {
        let state = self.read();
        let kind = state.kind(resource)?;
        let page = options.continue_token.as_deref().map(decode).transpose()?;
        let at = page.as_ref().map(|page| page.rv).or(options.exactly_at);
        if let Some(at) = at.filter(|at| *at > state.version) {
            return Err(watch::too_large(at, state.version));
        }
        let past = at
            .filter(|at| *at < state.version)
            .map(|at| kind.objects_at(at))
            .transpose()
            .map_err(|oldest| match (&page, at) {
                (None, Some(at)) => ApiError::too_old(at, oldest),
                _ => ApiError::new(
                    Reason::Expired,
                    "The provided continue parameter is too old to display a consistent list result. You can start a \
                     new list without the continue parameter.",
                ),
            })?;
        let objects = past.as_ref().unwrap_or(&kind.objects);

        let namespace = namespace.filter(|_| kind.def.is_namespaced());
        let after = page.map(|page| (page.namespace, page.name));
        let mut wanted = objects
            .iter()
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .filter(|(key, _)| namespace.is_none_or(|namespace| key.0 == namespace))
            .filter(|(_, object)| options.labels.matches(object) && options.fields.matches(object));
        let version = at.unwrap_or(state.version);
        let mut list = List {
            version,
            ..List::default()
        };
        let limit = options.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        list.items = wanted.by_ref().take(limit).map(|(_, object)| object.clone()).collect();
        let left = wanted.count();
        if left > 0 {
            let last = list.items.last();
            let token = Continue {
                rv: version,
                namespace: last.and_then(Object::namespace).unwrap_or_default().to_owned(),
                name: last.map(Object::name).unwrap_or_default().to_owned(),
            };
            list.continue_token = serde_json::to_vec(&token).ok().map(|json| URL_SAFE_NO_PAD.encode(json));
            let unselected = options.labels.is_everything() && options.fields.is_everything();
            list.remaining = unselected.then_some(left);
        }
        Ok(list)
    }

    /// All objects of a resource; empty when it is not served. For callers in process that want no options.
    pub fn all(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Object> {
        self.list(resource, namespace, &ListOptions::default())
            .map(|list| list.items)
            .unwrap_or_default()
    }
}

impl Kind {
    /// The objects as they were at `version`, by undoing what came after; the oldest possible version when too old.
    fn objects_at(&self, version: u64) -> Result<BTreeMap<Key, Object>, u64> {
        let later = self.history.after(version, usize::MAX)?;
        let mut objects = self.objects.clone();
        for record in later.into_iter().rev() {
            let key = self.key(record.object.namespace(), record.object.name());
            match (record.change, record.before) {
                (Change::Added, _) | (_, None) => objects.remove(&key),
                (_, Some(before)) => objects.insert(key, before),
            };
        }
        Ok(objects)
    }
}

fn decode(token: &str) -> Result<Continue, ApiError> {
    let json = URL_SAFE_NO_PAD.decode(token).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| ApiError::bad_request("invalid continue token: continue key is not valid"))
}
