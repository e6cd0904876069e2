//! What kinds of objects exist: one [`ResourceDef`] a resource, built in or made from a CustomResourceDefinition.
//! It knows names, scopes, subresources and columns, not objects.

pub mod builtin;
mod custom;
pub mod names;

pub(crate) use custom::{definition_of, priority};

use std::{borrow::Cow, fmt};

type Text = Cow<'static, str>;

/// Which resource: group and plural name. Versions of a resource share their objects, so the version is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    group: Text,
    plural: Text,
}

impl Resource {
    /// A resource named in the program's text; the core group is `""`. See [`names`] for the usual ones.
    pub const fn of(group: &'static str, plural: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(group),
            plural: Cow::Borrowed(plural),
        }
    }

    /// A resource named at run time.
    pub fn new(group: impl Into<String>, plural: impl Into<String>) -> Self {
        Self {
            group: Cow::Owned(group.into()),
            plural: Cow::Owned(plural.into()),
        }
    }

    /// API group; empty for core.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Plural name.
    pub fn plural(&self) -> &str {
        &self.plural
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

/// Whether objects live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// A part of an object with its own path below the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subresource {
    /// `/status`.
    Status,
    /// `/scale`.
    Scale,
    /// `/finalize` of namespaces.
    Finalize,
    /// `/binding` of pods.
    Binding,
    /// `/eviction` of pods.
    Eviction,
    /// `/ephemeralcontainers` of pods.
    EphemeralContainers,
    /// `/log` of pods.
    Log,
    /// `/exec` of pods.
    Exec,
    /// `/attach` of pods.
    Attach,
    /// `/portforward` of pods.
    PortForward,
    /// `/token` of service accounts.
    Token,
}

impl Subresource {
    /// Every subresource that this server knows.
    pub const ALL: [Self; 11] = [
        Self::Status,
        Self::Scale,
        Self::Finalize,
        Self::Binding,
        Self::Eviction,
        Self::EphemeralContainers,
        Self::Log,
        Self::Exec,
        Self::Attach,
        Self::PortForward,
        Self::Token,
    ];

    /// The path element.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Finalize => "finalize",
            Self::Binding => "binding",
            Self::Eviction => "eviction",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Log => "log",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
            Self::Token => "token",
        }
    }
}

/// What can be done with the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbs {
    /// Objects are stored: get, list, watch, create, update, patch, delete, deletecollection.
    Stored,
    /// Only `create`, which computes an answer and stores nothing (reviews).
    Review,
}

impl Verbs {
    /// The verbs as discovery shows them.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Stored => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            Self::Review => &["create"],
        }
    }
}

/// Whether strategic merge patches may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrategicMerge {
    /// Built-in types: merge keys are known.
    Supported,
    /// Custom resources: 415.
    Unsupported,
}

/// A column of a custom resource's table (`additionalPrinterColumns`). Built-in kinds have columns of their own in
/// code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrinterColumn {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Format, such as `int64`; often empty.
    pub format: String,
    /// What the column shows.
    pub description: String,
    /// 0 is always shown, above only with `-o wide`.
    pub priority: i32,
    /// Where the cell comes from, such as `.spec.replicas`.
    pub json_path: String,
}

/// Where the `scale` subresource of a custom resource reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// JSON pointer of the wanted replicas.
    pub spec_replicas: String,
    /// JSON pointer of the present replicas.
    pub status_replicas: String,
    /// JSON pointer of the selector, where the resource has one.
    pub selector: Option<String>,
}

/// Everything that the server knows about a resource.
#[derive(Clone, Debug)]
pub struct ResourceDef {
    /// API group; empty for core.
    pub group: Text,
    /// The version that discovery prefers and that objects are stored in.
    pub version: Text,
    /// All served versions, the preferred one first. They differ in `apiVersion` only (conversion strategy `None`).
    pub served: Vec<Text>,
    /// Kind, such as `Deployment`.
    pub kind: Text,
    /// Plural name, which is the path element.
    pub plural: Text,
    /// Singular name.
    pub singular: Text,
    /// Short names, such as `deploy`.
    pub short_names: Vec<Text>,
    /// Categories, such as `all`.
    pub categories: Vec<Text>,
    /// Namespaced or not.
    pub scope: Scope,
    /// Stored or review.
    pub verbs: Verbs,
    /// Subresources that the resource has.
    pub subresources: Vec<Subresource>,
    /// Columns of a custom resource; empty for built-in kinds.
    pub printer_columns: Vec<PrinterColumn>,
    /// Whether strategic merge applies.
    pub strategic_merge: StrategicMerge,
    /// Whether `metadata.generation` counts changes outside metadata and status.
    pub generation: bool,
    /// Where `scale` reads and writes, when the resource has it.
    pub scale: Option<ScalePaths>,
    /// `openAPIV3Schema` of a custom resource; what it leaves open is stored as it comes.
    pub schema: Option<std::sync::Arc<serde_json::Value>>,
}

impl ResourceDef {
    /// The key of the resource.
    pub fn resource(&self) -> Resource {
        Resource {
            group: self.group.clone(),
            plural: self.plural.clone(),
        }
    }

    /// `deployments.apps`, or `pods` in the core group.
    pub fn qualified(&self) -> String {
        self.resource().to_string()
    }

    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// True when objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// True when the resource has this subresource.
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// True for resources that a CustomResourceDefinition defined.
    pub fn is_custom(&self) -> bool {
        self.strategic_merge == StrategicMerge::Unsupported
    }
}

/// `group/version`, or the version alone in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}
