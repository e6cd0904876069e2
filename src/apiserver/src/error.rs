//! What the API answers when it refuses: a reason, a code, a message and details, rendered as `metav1.Status`.
//! It knows the wording of Kubernetes, not who asked or how the answer travels.

use crate::resource::ResourceDef;
use serde_json::{Value, json};

/// The machine-readable reason of a refusal (`metav1.StatusReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// 400: the request cannot be understood.
    BadRequest,
    /// 401: no, an unknown or an expired credential.
    Unauthorized,
    /// 403: authenticated, but not allowed; also admission refusals.
    Forbidden,
    /// 404.
    NotFound,
    /// 405: the resource exists, the verb does not.
    MethodNotAllowed,
    /// 406: none of the offered media types can be produced.
    NotAcceptable,
    /// 409 on create.
    AlreadyExists,
    /// 409 on update: stale resourceVersion, or a field owned by another manager.
    Conflict,
    /// 410: the asked resourceVersion or continue token is older than the kept history.
    Expired,
    /// 415.
    UnsupportedMediaType,
    /// 422: understood, but the object is not valid.
    Invalid,
    /// 429: a disruption budget or similar says "later".
    TooManyRequests,
    /// 500.
    InternalError,
    /// 501: a part of the API that this server does not have.
    NotImplemented,
    /// 503.
    ServiceUnavailable,
    /// 504.
    Timeout,
}

impl Reason {
    /// The HTTP status code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::NotImplemented => 501,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The spelling used in `Status.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::NotImplemented => "NotImplemented",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        }
    }
}

/// One field that is wrong (`metav1.StatusCause`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What kind of wrong.
    pub kind: CauseKind,
    /// Path of the field, for example `spec.selector`.
    pub field: String,
    /// What is wrong with it, without kind and field, as in `Status.details.causes[].message`.
    pub message: String,
}

/// The kinds of field errors of `k8s.io/apimachinery/pkg/util/validation/field`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseKind {
    /// The value is not valid.
    Invalid,
    /// The value is missing.
    Required,
    /// The value may not be set, or not changed.
    Forbidden,
    /// The value occurs twice.
    Duplicate,
    /// The value is none of the known ones.
    NotSupported,
    /// The value is too long.
    TooLong,
    /// The value names something that does not exist.
    NotFound,
    /// Another field manager owns the field (server-side apply).
    ManagerConflict,
    /// The asked resourceVersion does not exist yet.
    ResourceVersionTooLarge,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// A disruption budget does not allow an eviction now.
    DisruptionBudget,
}

impl CauseKind {
    /// The spelling used in `Status.details.causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "FieldValueInvalid",
            Self::Required => "FieldValueRequired",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotSupported => "FieldValueNotSupported",
            Self::TooLong => "FieldValueTooLong",
            Self::NotFound => "FieldValueNotFound",
            Self::ManagerConflict => "FieldManagerConflict",
            Self::ResourceVersionTooLarge => "ResourceVersionTooLarge",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::DisruptionBudget => "DisruptionBudget",
        }
    }
}

impl Cause {
    /// `Invalid value: <value>: <detail>`, the value printed as Go prints it (strings quoted, objects as JSON).
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self {
            kind: CauseKind::Invalid,
            field: field.into(),
            message: format!("Invalid value: {value}: {detail}"),
        }
    }

    /// `Required value` with an optional detail (empty for none).
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self {
            kind: CauseKind::Required,
            field: field.into(),
            message,
        }
    }

    /// `Forbidden: <detail>`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self {
            kind: CauseKind::Forbidden,
            field: field.into(),
            message: format!("Forbidden: {detail}"),
        }
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            kind: CauseKind::Duplicate,
            field: field.into(),
            message: format!("Duplicate value: {value}"),
        }
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`.
    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let known = supported
            .iter()
            .map(|s| format!("\"{s}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("Unsupported value: {value}: supported values: {known}");
        Self {
            kind: CauseKind::NotSupported,
            field: field.into(),
            message,
        }
    }
}

/// What a refusal is about (`metav1.StatusDetails`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorDetails {
    /// Name of the object.
    pub name: String,
    /// API group; empty for core.
    pub group: String,
    /// Kind or, for most errors, the plural resource name (as Kubernetes does).
    pub kind: String,
    /// Uid of the object, where it matters.
    pub uid: String,
    /// Field by field, for [`Reason::Invalid`] and apply conflicts.
    pub causes: Vec<Cause>,
    /// Seconds after which the client may try again; 0 for none.
    pub retry_after_seconds: u32,
}

/// A refusal of the API, in process as well as over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Machine-readable reason, which fixes the HTTP code.
    pub reason: Reason,
    /// The sentence that `kubectl` prints.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<ErrorDetails>>,
}

impl ApiError {
    /// An error without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            details: None,
        }
    }

    /// 400 with this message.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 401, worded as Kubernetes does.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// 500 with this message.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// 501: this server does not have that part of the API.
    pub fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(
            Reason::NotImplemented,
            format!("{what} is not implemented by this server"),
        )
    }

    /// 415 for a body in a media type that is not among the accepted ones.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(Reason::UnsupportedMediaType, message)
    }

    /// 404 for a path that leads to nothing.
    pub fn no_such_path() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource").about("", "", "")
    }

    /// 404 for an object.
    pub fn not_found(resource: &ResourceDef, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(Reason::NotFound, message).about(&resource.group, &resource.plural, name)
    }

    /// 409 on create.
    pub fn already_exists(resource: &ResourceDef, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(Reason::AlreadyExists, message).about(&resource.group, &resource.plural, name)
    }

    /// 409 on update, delete or patch; `why` as in "the object has been modified; ...".
    pub fn conflict(resource: &ResourceDef, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(Reason::Conflict, message).about(&resource.group, &resource.plural, name)
    }

    /// 409 for a stale resourceVersion, worded as Kubernetes does.
    pub fn stale(resource: &ResourceDef, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 403 for an object, from admission: `<resource> "<name>" is forbidden: <why>`.
    pub fn forbidden(resource: &ResourceDef, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Self::new(Reason::Forbidden, message).about(&resource.group, &resource.plural, name)
    }

    /// 422 with every wrong field; `causes` must not be empty.
    pub fn invalid(resource: &ResourceDef, name: &str, causes: Vec<Cause>) -> Self {
        let kind = if resource.group.is_empty() {
            resource.kind.to_string()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let mut lines = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect::<Vec<_>>();
        lines.dedup();
        let listed = if let [only] = lines.as_slice() {
            only.clone()
        } else {
            format!("[{}]", lines.join(", "))
        };
        let mut error = Self::new(Reason::Invalid, format!("{kind} \"{name}\" is invalid: {listed}")).about(
            &resource.group,
            &resource.kind,
            name,
        );
        if let Some(details) = &mut error.details {
            details.causes = causes;
        }
        error
    }

    /// 410: `requested` is older than the oldest version that a watch can still start from.
    pub fn too_old(requested: u64, oldest: u64) -> Self {
        Self::new(
            Reason::Expired,
            format!("too old resource version: {requested} ({oldest})"),
        )
    }

    /// Sets group, kind and name of the details.
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.group = group.to_owned();
        details.kind = kind.to_owned();
        details.name = name.to_owned();
        self
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.reason.code()
    }

    /// True for 404.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// True for a 403: refused by admission, or for want of a right.
    pub fn is_forbidden(&self) -> bool {
        self.reason == Reason::Forbidden
    }

    /// True for a 409 because of a stale write (not for "already exists").
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// True for a 409 on create.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    /// The `metav1.Status` that a client gets.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason.as_str(), "code": self.code(),
        });
        if let Some(details) = &self.details {
            let mut rendered = serde_json::Map::new();
            for (key, text) in [
                ("name", &details.name),
                ("group", &details.group),
                ("kind", &details.kind),
                ("uid", &details.uid),
            ] {
                if !text.is_empty() {
                    rendered.insert(key.to_owned(), json!(text));
                }
            }
            if !details.causes.is_empty() {
                let causes = details
                    .causes
                    .iter()
                    .map(|c| json!({"reason": c.kind.as_str(), "message": c.message, "field": c.field}))
                    .collect::<Vec<_>>();
                rendered.insert("causes".to_owned(), json!(causes));
            }
            if details.retry_after_seconds > 0 {
                rendered.insert("retryAfterSeconds".to_owned(), json!(details.retry_after_seconds));
            }
            status["details"] = Value::Object(rendered);
        }
        status
    }
}
