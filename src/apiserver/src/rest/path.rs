//! From method and path to what is asked for, as `k8s.io/apiserver/pkg/endpoints/request.RequestInfo` does, and then
//! to the resource that serves it.

use super::{
    query::Query,
    render::{Form, View},
};
use crate::{
    error::{ApiError, Reason},
    resource::{Resource, ResourceDef, Verbs},
};
use axum::http::Method;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Path(PlainPath),
    Resource(ResourcePath),
}

/// A path other than a resource: discovery, health, version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainPath {
    pub verb: String,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub group: String,
    pub version: String,
    pub namespace: Option<String>,
    pub resource: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
    pub operation: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Operation {
    pub fn verb(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

impl Route {
    pub fn parse(method: &Method, path: &str, query: &Query) -> Result<Self, ApiError> {
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => {
                let path = if path.is_empty() { "/" } else { path };
                return Ok(Self::Path(PlainPath {
                    verb: method.as_str().to_lowercase(),
                    path: path.to_owned(),
                }));
            }
        };
        // `/namespaces/x` is the object, `/namespaces/x/status` its subresource, anything else below is in it.
        let (namespace, rest) = match rest {
            ["namespaces", namespace, tail @ ..] if !tail.is_empty() => match tail {
                ["status" | "finalize"] if group.is_empty() => (Some(*namespace), rest),
                _ => (Some(*namespace), tail),
            },
            ["namespaces", namespace] if group.is_empty() => (Some(*namespace), rest),
            _ => (None, rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, None, None),
            [resource, name] => (*resource, Some(*name), None),
            [resource, name, subresource] => (*resource, Some(*name), Some(*subresource)),
            _ => return Err(ApiError::no_such_path()),
        };
        let operation = match (method, name) {
            (&Method::GET | &Method::HEAD, Some(_)) => Operation::Get,
            (&Method::GET | &Method::HEAD, None) if query.watch => Operation::Watch,
            (&Method::GET | &Method::HEAD, None) => Operation::List,
            (&Method::POST, _) => Operation::Create,
            (&Method::PUT, Some(_)) => Operation::Update,
            (&Method::PATCH, Some(_)) => Operation::Patch,
            (&Method::DELETE, Some(_)) => Operation::Delete,
            (&Method::DELETE, None) => Operation::DeleteCollection,
            _ => return Err(method_not_allowed()),
        };
        Ok(Self::Resource(ResourcePath {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.map(str::to_owned),
            resource: resource.to_owned(),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
            operation,
        }))
    }
}

impl ResourcePath {
    /// What the path means to a resource; 404 where the version is not served or the scope is another.
    pub fn resolve<'a>(&'a self, def: &'a ResourceDef) -> Result<ResolvedPath<'a>, ApiError> {
        if !def.served.iter().any(|version| *version == self.version) {
            return Err(ApiError::no_such_path());
        }
        let is_namespace = def.kind == "Namespace" && def.group.is_empty();
        let namespace = match (def.is_namespaced(), self.namespace.as_deref()) {
            (true, None) if self.name.is_some() => return Err(ApiError::no_such_path()),
            (true, None) if self.operation == Operation::Create && def.verbs == Verbs::Stored => {
                return Err(method_not_allowed());
            }
            (false, Some(_)) if !is_namespace => return Err(ApiError::no_such_path()),
            (namespaced, namespace) => namespace.filter(|_| namespaced),
        };
        Ok(ResolvedPath {
            def,
            resource: def.resource(),
            version: &self.version,
            namespace,
            name: self.name.as_deref(),
        })
    }
}

/// A path to a resource that is served, at a version that is served.
pub(crate) struct ResolvedPath<'a> {
    pub def: &'a ResourceDef,
    pub resource: Resource,
    pub version: &'a str,
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
}

impl ResolvedPath<'_> {
    pub fn name(&self) -> Result<&str, ApiError> {
        self.name.ok_or_else(method_not_allowed)
    }

    pub fn view(&self, form: Form) -> View<'_> {
        View {
            def: self.def,
            version: self.version,
            form,
        }
    }
}

/// 405, worded as Kubernetes does.
pub(crate) fn method_not_allowed() -> ApiError {
    let message = "the server does not allow this method on the requested resource";
    ApiError::new(Reason::MethodNotAllowed, message).about("", "", "")
}

/// Percent-decodes one path element; what is not valid stays as it is.
fn decode(part: &str) -> String {
    super::query::percent_decode(part, false)
}

#[cfg(test)]
mod tests {
    use super::{Operation, Route};
    use crate::rest::query::Query;
    use axum::http::Method;

    fn parse(method: Method, path: &str, query: &str) -> String {
        let query = Query::parse(query).expect("the query parses");
        match Route::parse(&method, path, &query) {
            Ok(Route::Path(path)) => format!("{} {}", path.verb, path.path),
            Ok(Route::Resource(r)) => format!(
                "{} {}/{} {} {} {} {}",
                r.operation.verb(),
                r.group,
                r.version,
                r.namespace.unwrap_or_default(),
                r.resource,
                r.name.unwrap_or_default(),
                r.subresource.unwrap_or_default(),
            ),
            Err(error) => error.reason.as_str().to_owned(),
        }
    }

    #[test]
    fn paths_are_understood_as_kubernetes_does() {
        let get = |path| parse(Method::GET, path, "");
        assert_eq!(get("/version"), "get /version");
        assert_eq!(get("/apis/apps/v1"), "get /apis/apps/v1");
        assert_eq!(get("/api/v1/pods"), "list /v1  pods  ");
        assert_eq!(get("/api/v1/namespaces"), "list /v1  namespaces  ");
        assert_eq!(get("/api/v1/namespaces/a"), "get /v1 a namespaces a ");
        assert_eq!(get("/api/v1/namespaces/a/status"), "get /v1 a namespaces a status");
        assert_eq!(get("/api/v1/namespaces/a/pods/b/log"), "get /v1 a pods b log");
        assert_eq!(
            get("/apis/apps/v1/namespaces/a/deployments"),
            "list apps/v1 a deployments  "
        );
        assert_eq!(get("/apis/apps/v1/namespaces/a/deployments/b/c/d"), "NotFound");
        assert_eq!(parse(Method::GET, "/api/v1/pods", "watch=1"), "watch /v1  pods  ");
        assert_eq!(
            parse(Method::DELETE, "/api/v1/pods", ""),
            "deletecollection /v1  pods  "
        );
        assert_eq!(parse(Method::PUT, "/api/v1/pods", ""), "MethodNotAllowed");
        assert_eq!(Operation::Patch.verb(), "patch");
    }
}
