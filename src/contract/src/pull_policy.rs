//! When nodes pull the probe image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Kubernetes' `imagePullPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Pull before every start of a pod
    Always,
    /// Pull if the node does not have the image
    #[default]
    IfNotPresent,
    /// Never pull: the node must have the image
    Never,
}

impl PullPolicy {
    /// Every policy.
    pub const ALL: [PullPolicy; 3] = [PullPolicy::Always, PullPolicy::IfNotPresent, PullPolicy::Never];

    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
    /// What it does, for help texts.
    pub fn about(self) -> &'static str {
        match self {
            PullPolicy::Always => "Pull before every start of a pod",
            PullPolicy::IfNotPresent => "Pull if the node does not have the image",
            PullPolicy::Never => "Never pull: the node must have the image",
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PullPolicy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| format!("invalid pull policy {text:?}: expected Always, IfNotPresent or Never"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_kubernetes_writes_them() {
        for policy in PullPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(serde_json::to_value(policy).expect("JSON"), policy.as_str());
        }
        let error = "always".parse::<PullPolicy>().expect_err("not a policy");
        assert_eq!(
            error,
            "invalid pull policy \"always\": expected Always, IfNotPresent or Never"
        );
    }
}
