//! The lab as the place of a run. The harness meets it like any clusters: through a kubeconfig.

use crate::{
    command::run::lab_clusters,
    fatal::Fatal,
    session::{fault::FaultEntry, place::Place, stated::Stated},
};
use anyhow::anyhow;
use async_trait::async_trait;
use meshproof_cluster::{Disruptive, Image, NodePower, PullPolicy, Role};
use meshproof_contract::{ClusterName, Consent, Exit, NodeName, OutsideFacts, Thresholds};
use meshproof_lab::{
    AGENT_IMAGE, AGENT_SUBCOMMAND, Control, LAB_SUBCOMMAND, LabOptions, LaunchError, NODES, NodeGrace,
    EXTERNAL_HOSTS, RunningLab, Topology, fault_catalogue, launch,
};
use std::{process::ExitCode, sync::Arc, time::Duration};

/// The process may have been started to be the lab's engine, or an agent in one of its pods; then that is all it does.
/// Must be called before anything starts a thread.
pub fn hidden_role() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    match args.next()?.to_str()? {
        LAB_SUBCOMMAND => Some(meshproof_lab::lab_main(args)),
        AGENT_SUBCOMMAND => Some(meshproof_agent::run(args)),
        _ => None,
    }
}

/// How long a silent node is believed in a lab that a run boots: Kubernetes' own 40 s would be most of the run.
const NODE_GRACE: Duration = Duration::from_secs(4);

/// How many nodes each of the lab's clusters has.
#[derive(Clone, Copy, Debug)]
pub struct LabNodes(pub u8);

impl Default for LabNodes {
    fn default() -> Self {
        Self(NODES)
    }
}

/// A lab that ends with this process at the latest.
pub struct Lab(RunningLab);

impl Lab {
    /// Boots a lab of so many nodes a cluster with these faults in force.
    pub async fn start(nodes: LabNodes, faults: &[String]) -> Result<Self, Fatal> {
        for fault in faults {
            known(fault)?;
        }
        let mut options = LabOptions::default();
        options.lab.topology = Topology::with_nodes(nodes.0);
        options.lab.node_grace = NodeGrace(NODE_GRACE);
        let lab = Self(launch(options).await.map_err(launched_badly)?);
        for fault in faults {
            lab.inject(fault).await?;
        }
        Ok(lab)
    }

    /// The lab as a place.
    pub fn place(&self) -> Place {
        let roles = lab_clusters();
        let role = |cluster: meshproof_contract::ClusterName| Role {
            context: cluster.to_string(),
            cluster,
        };
        Place {
            roles: roles.into_iter().map(role).collect(),
            kubeconfig: Some(self.0.kubeconfig_path().to_owned()),
            image: Image {
                reference: AGENT_IMAGE.to_owned(),
                pull: PullPolicy::IfNotPresent,
            },
            ready_within: None,
            stated: Stated {
                thresholds: thresholds(),
                outside: outside(),
                ..Stated::default()
            },
            // Nobody else uses it.
            disruptive: Disruptive {
                consent: Consent::Given,
                power: Some(Arc::new(Switches(self.0.control().clone()))),
                stream_spacing_ms: None,
            },
        }
    }

    /// Every fault that the lab knows, in the order of its catalogue.
    pub fn faults() -> Vec<FaultEntry> {
        let entry = |spec: meshproof_lab::FaultSpec| FaultEntry {
            name: spec.name.to_string(),
            summary: spec.summary.to_owned(),
            suites: spec.suites.iter().map(|suite| (*suite).to_owned()).collect(),
        };
        fault_catalogue().into_iter().map(entry).collect()
    }

    /// Breaks something.
    pub async fn inject(&self, fault: &str) -> Result<(), Fatal> {
        self.0.control().inject(fault).await.map_err(Fatal::environment)
    }

    /// Mends it.
    pub async fn heal(&self, fault: &str) -> Result<(), Fatal> {
        self.0.control().heal(fault).await.map_err(Fatal::environment)
    }

    /// Ends it; nothing of it is left.
    pub async fn stop(self) {
        if let Err(error) = self.0.shutdown().await {
            eprintln!("meshproof: the lab was killed, since it could not be told to end: {error}");
        }
    }
}

/// What a lab promises: its nodes are believed for [`NODE_GRACE`] only and everything in it is near, so it is sooner than a cluster.
fn thresholds() -> Thresholds {
    Thresholds {
        recovery: Duration::from_secs(12),
        fail_back: Duration::from_secs(5),
        propagation: Duration::from_secs(5),
        policy_enforcement: Duration::from_secs(6),
        ..Thresholds::default()
    }
}

/// The machines outside the lab's clusters.
fn outside() -> Vec<OutsideFacts> {
    let facts = |name: &str| OutsideFacts {
        name: name.to_owned(),
        port: 80,
    };
    EXTERNAL_HOSTS.into_iter().map(facts).collect()
}

/// The lab's switches, used as an operator uses a hypervisor's.
struct Switches(Control);

#[async_trait]
impl NodePower for Switches {
    async fn cut(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String> {
        let cut = self.0.cut_node(cluster.as_str(), node.as_str()).await;
        cut.map_err(|error| error.to_string())
    }

    async fn restore(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String> {
        let restored = self.0.restore_node(cluster.as_str(), node.as_str()).await;
        restored.map_err(|error| error.to_string())
    }
}

/// Whether the error is that this machine forbids namespaces.
pub fn is_forbidden(fatal: &Fatal) -> bool {
    matches!(fatal.error.downcast_ref(), Some(LaunchError::Forbidden(_)))
}

/// Why there is no lab, with the exit code that it means.
pub fn launched_badly(error: LaunchError) -> Fatal {
    Fatal {
        exit: Exit::CouldNotTell,
        error: error.into(),
    }
}

/// The fault's name if the lab knows it.
pub fn known(fault: &str) -> Result<(), Fatal> {
    match fault_catalogue().iter().any(|spec| spec.name.as_str() == fault) {
        true => Ok(()),
        false => Err(Fatal::usage(anyhow!(
            "the lab knows no fault '{fault}'; `meshproof prove --list` names them"
        ))),
    }
}
