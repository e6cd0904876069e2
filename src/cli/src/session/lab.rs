//! The lab as the target of a run. The harness meets it like any clusters: through a kubeconfig.

use crate::{
    args::LabProfile,
    cli_error::CliError,
    session::{fault::FaultSpec, lab_shape::LabShape, overrides::Overrides, run_plan::lab_clusters, target::Target},
};
use anyhow::anyhow;
use async_trait::async_trait;
use meshproof_cluster::{DisruptionOptions, Image, NodePower, PullPolicy, Role};
use meshproof_contract::{ClusterName, Consent, NodeName, OutsideFacts, Thresholds};
use meshproof_engine::nearest;
use meshproof_lab::{
    AGENT_IMAGE, AGENT_SUBCOMMAND, Control, EXTERNAL_HOSTS, EncryptionMode, FAULTS, Installation, LAB_SUBCOMMAND,
    LabOptions, LaunchError, NodeGrace, PlaceSeed, Profile, RunningLab, SizedFault, Topology, UnknownFault, launch,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

/// The process may have been started to be the lab's own, or an agent in one of its pods; then that is all it does.
/// Must be called before anything starts a thread.
pub fn hidden_role() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    match args.next()?.to_str()? {
        LAB_SUBCOMMAND => Some(meshproof_lab::lab_main(args)),
        AGENT_SUBCOMMAND => Some(meshproof_agent::run(args)),
        _ => None,
    }
}

/// The flows that the operators of the lab's clusters have written down, as a file.
pub use meshproof_lab::flows;

/// Whether Cilium encrypts in a profile.
pub fn encrypts(wanted: LabProfile) -> bool {
    profile(wanted).settings().encryption != EncryptionMode::None
}

/// How long a silent node counts as ready in a lab that a run boots: Kubernetes' own 40 s would be most of the run.
const NODE_GRACE: Duration = Duration::from_secs(4);

/// The lab's own word for it.
pub fn profile(wanted: LabProfile) -> Profile {
    match wanted {
        LabProfile::Tunnel => Profile::Tunnel,
        LabProfile::Native => Profile::Native,
        LabProfile::NativeDsr => Profile::NativeDsr,
        LabProfile::Plain => Profile::Plain,
        LabProfile::KubeProxy => Profile::KubeProxy,
        LabProfile::Next => Profile::Next,
    }
}

/// The clusters of a lab, installed with the values of a repository. What of them has no effect there is told.
pub fn installed(
    topology: Topology,
    installations: Vec<meshproof_claims::Installation>,
    mut tell: impl FnMut(String),
) -> Result<Topology, CliError> {
    let mut all = BTreeMap::new();
    let mut stored = BTreeSet::new();
    for given in installations {
        if !given.is_complete {
            let name = &given.cluster;
            tell(format!("values of {name} that cannot be read here are not in its lab"));
        }
        let installation = Installation {
            values: given.values,
            config: given.config,
        };
        stored.extend(installation.only_stored());
        all.insert(given.cluster, installation);
    }
    if !stored.is_empty() {
        let paths: Vec<String> = stored.into_iter().collect();
        tell(format!(
            "the lab stores these values and does nothing by them: {}",
            paths.join(", ")
        ));
    }
    topology.installed(all).map_err(CliError::usage)
}

/// A lab that ends with this process at the latest.
pub struct Lab(RunningLab);

impl Lab {
    /// Boots a lab of this shape with these faults injected.
    pub async fn start(shape: LabShape, faults: &[String]) -> Result<Self, CliError> {
        Self::start_installed(shape, Vec::new(), |_| {}, faults).await
    }

    /// The same, its clusters installed with these values; `tell` is told what the lab makes of them.
    pub async fn start_installed(
        shape: LabShape,
        installations: Vec<meshproof_claims::Installation>,
        tell: impl FnMut(String),
        faults: &[String],
    ) -> Result<Self, CliError> {
        for fault in faults {
            known(fault)?;
        }
        let mut options = LabOptions::default();
        let topology = Topology::with_nodes(shape.nodes).configured(profile(shape.profile));
        options.lab.topology = installed(topology, installations, tell)?;
        options.lab.node_grace = NodeGrace(NODE_GRACE);
        options.lab.places = PlaceSeed(shape.fault_seed);
        let lab = Self(launch(options).await.map_err(CliError::environment)?);
        for fault in faults {
            lab.inject(fault).await?;
        }
        Ok(lab)
    }

    /// The lab as a target.
    pub fn target(&self) -> Target {
        let role = |cluster: ClusterName| Role {
            context: cluster.to_string(),
            cluster,
        };
        Target {
            roles: lab_clusters().into_iter().map(role).collect(),
            kubeconfig: Some(self.0.kubeconfig_path().to_owned()),
            image: Image {
                reference: AGENT_IMAGE.to_owned(),
                pull: PullPolicy::IfNotPresent,
                credentials: None,
            },
            ready_within: None,
            overrides: overrides(),
            // Nobody else uses it.
            disruption: DisruptionOptions {
                consent: Consent::Given,
                power: Some(Arc::new(Switches(self.0.control().clone()))),
                stream_spacing_ms: None,
                mesh_outage_seconds: None,
            },
        }
    }

    /// Every fault that the lab knows, in the order of their names.
    pub fn faults() -> Result<Vec<FaultSpec>, CliError> {
        Ok(FAULTS.to_vec())
    }

    /// Injects a fault.
    pub async fn inject(&self, fault: &str) -> Result<(), CliError> {
        self.0.control().inject(fault).await.map_err(CliError::environment)
    }

    /// Heals a fault.
    pub async fn heal(&self, fault: &str) -> Result<(), CliError> {
        self.0.control().heal(fault).await.map_err(CliError::environment)
    }

    /// Stops it; nothing of it is left.
    pub async fn stop(self) {
        if let Err(error) = self.0.shutdown().await {
            eprintln!("meshproof: killed the lab, since it did not stop by itself: {error}");
        }
    }
}

/// What a lab promises: its nodes count as ready for [`NODE_GRACE`] only and everything in it is near, so it is faster
/// than a cluster.
fn overrides() -> Overrides {
    let outside = |name: &str| OutsideFacts {
        name: name.to_owned(),
        port: 80,
    };
    Overrides {
        thresholds: Thresholds {
            recovery: Duration::from_secs(12),
            fail_back: Duration::from_secs(5),
            propagation: Duration::from_secs(5),
            policy_enforcement: Duration::from_secs(6),
            ..Thresholds::default()
        },
        outside: EXTERNAL_HOSTS.into_iter().map(outside).collect(),
        ..Overrides::default()
    }
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
pub fn is_forbidden(error: &CliError) -> bool {
    matches!(error.error.downcast_ref(), Some(LaunchError::Forbidden(_)))
}

/// That the lab knows the fault.
pub fn known(fault: &str) -> Result<(), CliError> {
    match fault.parse::<SizedFault>() {
        Ok(_) => return Ok(()),
        Err(UnknownFault::Name { .. }) => {}
        Err(error) => return Err(CliError::usage(error)),
    }
    let near = nearest(fault, FAULTS.iter().map(|spec| spec.name.to_owned()));
    let near = near
        .first()
        .map_or_else(String::new, |near| format!("did you mean {near}? "));
    Err(CliError::usage(anyhow!(
        "unknown fault '{fault}'; {near}`meshproof prove --list` lists the faults"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::ValueEnum;
    use meshproof_lab::PROFILES;

    #[test]
    fn the_labs_own_thresholds_survive_a_configuration_that_states_none() {
        let overrides = overrides().with(&Config::default());
        assert_eq!(overrides.thresholds.recovery, Duration::from_secs(12));
        assert_eq!(overrides.thresholds.policy_enforcement, Duration::from_secs(6));
        assert_eq!(overrides.outside.len(), EXTERNAL_HOSTS.len());
    }

    #[test]
    fn every_profile_of_the_lab_can_be_asked_for() {
        let asked: Vec<_> = LabProfile::value_variants()
            .iter()
            .map(|wanted| {
                let name = wanted
                    .to_possible_value()
                    .expect("none is hidden")
                    .get_name()
                    .to_owned();
                (name, profile(*wanted))
            })
            .collect();
        let known: Vec<_> = PROFILES.iter().map(|row| (row.name.to_owned(), row.profile)).collect();
        assert_eq!(asked, known);
        assert_eq!(profile(LabProfile::default()), Profile::default());
    }

    #[test]
    fn cilium_config_of_every_profile_is_what_the_chart_makes_of_its_values() {
        use meshproof_claims::{
            chart::{Chart, node},
            prediction::{Predicted, Prediction},
            values::Values,
        };
        let (chart, prediction) = (Chart::new(), Prediction::new());
        let mut wrong = Vec::new();
        for row in &PROFILES {
            let topology = Topology::default().configured(row.profile);
            for cluster in &topology.clusters {
                let given = node(&meshproof_lab::helm_values(&topology, cluster));
                let values = Values {
                    chart: &chart,
                    given: &given,
                };
                let config = meshproof_lab::cilium_config(&topology, cluster);
                for key in prediction.keys() {
                    let found = config[key].as_str();
                    let expected = match prediction.predict(key, &values) {
                        Predicted::Is(text) => Some(text),
                        Predicted::Absent => None,
                        Predicted::Unknown => continue,
                    };
                    // An empty text is rendered by Helm's command, and not by Cilium's, by which the lab is installed.
                    if found.unwrap_or_default() != expected.as_deref().unwrap_or_default() {
                        wrong.push(format!(
                            "{} {} {key}: {found:?}, not {expected:?}",
                            row.name, cluster.name
                        ));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{} keys:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// The operators' example, as the lab is installed with it.
    fn example(house: &str) -> Vec<meshproof_claims::Installation> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../claims/testdata/gitops-example");
        let request = meshproof_claims::Request {
            root: root.join(house),
            values: Vec::new(),
        };
        let repository = meshproof_claims::Repository::read(request, true).expect("a readable folder");
        repository.installations()
    }

    #[test]
    fn a_lab_is_installed_with_the_values_of_a_repository_as_far_as_it_can() {
        let mut told = Vec::new();
        let topology = installed(Topology::default(), example("clean"), |line| told.push(line)).expect("it can");
        let settings = topology.settings();
        assert!(settings.node_encryption && settings.endpoint_routes && settings.envoy);
        for cluster in &topology.clusters {
            assert_eq!(
                topology.strict_range(cluster).map(|range| range.to_string()).as_deref(),
                Some("10.244.0.0/14")
            );
            let config = meshproof_lab::cilium_config(&topology, cluster);
            assert_eq!(config["enable-l2-announcements"], "true");
            assert_eq!(config["bpf-lb-algorithm"], "maglev");
        }
        let [told] = told.as_slice() else { panic!("{told:?}") };
        assert!(
            told.contains("gatewayAPI.enabled") && told.contains("l2announcements.enabled"),
            "{told}"
        );
        assert!(!told.contains("routingMode"), "{told}");
        let error = installed(Topology::default(), example("as-written"), |_| ()).expect_err("it cannot");
        let error = error.to_string();
        assert!(
            error.contains("infra: `ipv4-native-routing-cidr` is `10.244.0.0/16`"),
            "{error}"
        );
    }

    #[test]
    fn the_default_number_of_nodes_is_the_labs_own() {
        assert_eq!(crate::args::LAB_NODES, meshproof_lab::NODES);
    }
}
