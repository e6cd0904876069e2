//! Bearer tokens: issued, looked up, expired, revoked. It knows nothing of rights.

use super::{AUTHENTICATED, UNAUTHENTICATED};
use crate::{object::Object, sync};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// An authenticated (or anonymous) caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User name; `system:serviceaccount:<namespace>:<name>` for service accounts.
    pub name: String,
    /// Groups, without the ones that authentication itself adds.
    pub groups: Vec<String>,
    /// Uid; empty where the user has none.
    pub uid: String,
}

impl User {
    /// A user with groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            uid: String::new(),
        }
    }

    /// A member of [`super::MASTERS`], who may do everything.
    pub fn admin(name: impl Into<String>) -> Self {
        Self::new(name, &[super::MASTERS])
    }

    /// A service account.
    pub fn service_account(account: &Object) -> Self {
        let namespace = account.namespace().unwrap_or_default();
        Self {
            name: format!("system:serviceaccount:{namespace}:{}", account.name()),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
            uid: account.uid().to_owned(),
        }
    }

    pub(crate) fn anonymous() -> Self {
        Self::new("system:anonymous", &[])
    }

    /// Namespace and name, when the user is a service account.
    pub(crate) fn as_service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// The groups, with the one that shows whether the user authenticated.
    pub(crate) fn all_groups(&self) -> impl Iterator<Item = &str> {
        let implied = if self.name == "system:anonymous" {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        self.groups.iter().map(String::as_str).chain([implied])
    }
}

/// The tokens of one server; clones share them.
#[derive(Clone, Default)]
pub struct Tokens(Arc<Mutex<HashMap<String, Grant>>>);

struct Grant {
    user: User,
    expires: Option<Timestamp>,
}

impl Tokens {
    /// A new random token for a user, valid until `expires` or for ever.
    pub fn issue(&self, user: User, expires: Option<Timestamp>) -> String {
        let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        self.accept(&token, user, expires);
        token
    }

    /// Makes a given text a token of a user.
    pub fn accept(&self, token: &str, user: User, expires: Option<Timestamp>) {
        let now = Timestamp::now();
        let mut grants = self.grants();
        grants.retain(|_, grant| grant.expires.is_none_or(|end| end > now));
        grants.insert(token.to_owned(), Grant { user, expires });
    }

    /// A token of a service account in the form of a JWT, as TokenRequest gives. It is looked up, not verified: the
    /// signature is random.
    pub(crate) fn issue_for_account(&self, account: &Object, audiences: &[String], expires: Timestamp) -> String {
        let user = User::service_account(account);
        let header = json!({"alg": "RS256", "kid": "in-memory"});
        let now = Timestamp::now().as_second();
        let payload = json!({
            "aud": audiences, "exp": expires.as_second(), "iat": now, "nbf": now,
            "iss": "https://kubernetes.default.svc",
            "jti": uuid::Uuid::new_v4().to_string(), "sub": user.name,
            "kubernetes.io": {
                "namespace": account.namespace(), "serviceaccount": {"name": account.name(), "uid": account.uid()},
            },
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signature = URL_SAFE_NO_PAD.encode([uuid::Uuid::new_v4().into_bytes(); 4].concat());
        let token = format!("{}.{}.{signature}", part(&header), part(&payload));
        self.accept(&token, user, Some(expires));
        token
    }

    /// Makes a token worthless.
    pub fn revoke(&self, token: &str) {
        self.grants().remove(token);
    }

    /// The user of a token; none when it is unknown or has expired.
    pub fn user(&self, token: &str) -> Option<User> {
        let grants = self.grants();
        let grant = grants.get(token)?;
        grant
            .expires
            .is_none_or(|end| end > Timestamp::now())
            .then(|| grant.user.clone())
    }

    fn grants(&self) -> MutexGuard<'_, HashMap<String, Grant>> {
        sync::lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Tokens, User};
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn tokens_expire_and_can_be_revoked() {
        let tokens = Tokens::default();
        let now = Timestamp::now();
        let past = tokens.issue(User::new("late", &[]), Some(now - SignedDuration::from_secs(1)));
        let future = tokens.issue(User::new("early", &[]), Some(now + SignedDuration::from_secs(60)));
        assert_eq!(tokens.user(&past), None);
        assert_eq!(tokens.user(&future).map(|user| user.name), Some("early".to_owned()));
        tokens.revoke(&future);
        assert_eq!(tokens.user(&future), None);
        assert_eq!(tokens.user(""), None);
    }
}
