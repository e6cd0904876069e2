//! The target of a run: which clusters, through which kubeconfig, with which probe image.

use crate::{
    DEFAULT_IMAGE,
    args::TargetArgs,
    cli_error::CliError,
    config::Config,
    mesh_outage,
    session::{overrides::Overrides, power::NodePowerCommands},
};
use anyhow::anyhow;
use meshproof_cluster::{DisruptionOptions, Image, NodePower, Role};
use meshproof_contract::{ClusterName, PullPolicy};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// The clusters of a run and how it may use them.
#[derive(Clone, Debug)]
pub struct Target {
    /// The clusters.
    pub roles: Vec<Role>,
    /// A kubeconfig instead of the user's.
    pub kubeconfig: Option<PathBuf>,
    /// The probe image.
    pub image: Image,
    /// How long agents may take to become ready, in all; none: as long as they make progress, 10 minutes at most.
    pub ready_within: Option<Duration>,
    /// What the operators claim and promise.
    pub overrides: Overrides,
    /// What checks may disrupt.
    pub disruption: DisruptionOptions,
}

impl Target {
    /// The target that the command line names, or else the configuration. There is no default cluster: a run that
    /// names none must not find one by accident, and gate an upgrade on it.
    pub fn of(
        args: &TargetArgs,
        config: &Config,
        image: Option<&str>,
        pull: Option<PullPolicy>,
    ) -> Result<Self, CliError> {
        let roles = roles(args, config)?;
        let reference = image
            .map(str::to_owned)
            .or_else(|| config.image.clone())
            .unwrap_or_else(|| DEFAULT_IMAGE.to_owned());
        let pull = pull.or(config.pull_policy).unwrap_or_default();
        let power = config.node_power.clone().map(|commands| {
            let roles = roles.clone();
            Arc::new(NodePowerCommands { commands, roles }) as Arc<dyn NodePower>
        });
        let target = Self {
            roles,
            kubeconfig: None,
            image: Image {
                reference,
                pull,
                credentials: None,
            },
            ready_within: None,
            overrides: Overrides::default(),
            disruption: DisruptionOptions {
                power,
                ..DisruptionOptions::default()
            },
        };
        Ok(target.with(config))
    }

    /// The target with what a file states about it; the rest stays as it is. The lab has its own image and power
    /// switches.
    pub fn with(mut self, config: &Config) -> Self {
        self.ready_within = config.ready_timeout.or(self.ready_within);
        self.disruption.stream_spacing_ms = config.stream_spacing_ms.or(self.disruption.stream_spacing_ms);
        let outage = config.mesh_outage.map(mesh_outage::seconds);
        self.disruption.mesh_outage_seconds = outage.or(self.disruption.mesh_outage_seconds);
        self.overrides = self.overrides.with(config);
        self
    }

    /// The names of the clusters, in order.
    pub fn clusters(&self) -> Vec<ClusterName> {
        self.roles.iter().map(|role| role.cluster.clone()).collect()
    }
}

fn roles(args: &TargetArgs, config: &Config) -> Result<Vec<Role>, CliError> {
    let mut contexts = args.contexts();
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
        return Err(CliError::usage(anyhow!(
            "no cluster given: name clusters with --infra-context and --apps-context (or --context ROLE=CONTEXT, or \
             `contexts` in meshproof.yaml), or use --lab for two emulated ones"
        )));
    }
    let role = |(role, context)| Role {
        cluster: ClusterName::new(role),
        context,
    };
    Ok(contexts.into_iter().map(role).collect())
}
