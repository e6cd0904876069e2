//! Where a run takes place: which clusters, through which kubeconfig, with which probe image.

use crate::{
    DEFAULT_IMAGE,
    args::{PullPolicy, TargetArgs},
    config::Config,
    fatal::Fatal,
    session::{power::Commands, stated::Stated},
};
use anyhow::anyhow;
use meshproof_cluster::{Disruptive, Image, NodePower, Role};
use meshproof_contract::ClusterName;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A place.
#[derive(Clone, Debug)]
pub struct Place {
    /// The clusters.
    pub roles: Vec<Role>,
    /// A kubeconfig instead of the user's.
    pub kubeconfig: Option<PathBuf>,
    /// The probe image.
    pub image: Image,
    /// How long agents may take to become ready, in all; none: as long as one after another gets on, 10 minutes at most.
    pub ready_within: Option<Duration>,
    /// What the operators claim and promise.
    pub stated: Stated,
    /// What checks may disturb.
    pub disruptive: Disruptive,
}

impl Place {
    /// The place that the command line names, or else the configuration. There is no default cluster: a run that
    /// names none must not find one by accident, and gate an upgrade on it.
    pub fn of(
        target: &TargetArgs,
        config: &Config,
        image: Option<&str>,
        pull: Option<PullPolicy>,
    ) -> Result<Self, Fatal> {
        let mut contexts = target.contexts();
        if contexts.is_empty() {
            contexts = config
                .contexts
                .iter()
                .map(|(role, context)| (role.clone(), context.clone()))
                .collect();
            // infra before apps, as everywhere; others by name.
            contexts.sort_by_key(|(role, _)| (role != "infra", role != "apps", role.clone()));
        }
        if contexts.is_empty() {
            return Err(Fatal::usage(anyhow!(
                "no cluster is named: give --infra-context and --apps-context (or --context ROLE=CONTEXT, or contexts in meshproof.yaml), or --lab for two emulated ones"
            )));
        }
        let roles: Vec<Role> = contexts
            .into_iter()
            .map(|(role, context)| Role {
                cluster: ClusterName::new(role),
                context,
            })
            .collect();
        let reference = image
            .map(str::to_owned)
            .or_else(|| config.image.clone())
            .unwrap_or_else(|| DEFAULT_IMAGE.to_owned());
        let pull = pull.or(config.pull_policy).unwrap_or(PullPolicy::IfNotPresent).into();
        let power = config.node_power.clone().map(|commands| {
            let roles = roles.clone();
            Arc::new(Commands { commands, roles }) as Arc<dyn NodePower>
        });
        Ok(Self {
            roles,
            kubeconfig: None,
            image: Image { reference, pull },
            ready_within: None,
            stated: Stated::default(),
            disruptive: Disruptive {
                power,
                ..Disruptive::default()
            },
        }
        .with(config))
    }

    /// The place with what a file says about it; the lab has its own image and its own switches.
    pub fn with(mut self, config: &Config) -> Self {
        self.ready_within = config.ready_timeout;
        self.disruptive.stream_spacing_ms = config.stream_spacing_ms;
        self.stated = Stated {
            claims: config.claims.clone(),
            thresholds: config.thresholds.clone(),
            outside: match config.outside.is_empty() {
                true => self.stated.outside,
                false => config.outside.clone(),
            },
            generation: self.stated.generation,
        };
        self
    }

    /// The names of the clusters, in order.
    pub fn clusters(&self) -> Vec<ClusterName> {
        self.roles.iter().map(|role| role.cluster.clone()).collect()
    }
}

impl From<PullPolicy> for meshproof_cluster::PullPolicy {
    fn from(policy: PullPolicy) -> Self {
        match policy {
            PullPolicy::Always => Self::Always,
            PullPolicy::IfNotPresent => Self::IfNotPresent,
            PullPolicy::Never => Self::Never,
        }
    }
}
