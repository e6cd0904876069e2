//! Clusters held for a while: connected, discovered, deployed to, and given back whatever happens in between.

pub mod consumer;
pub mod fault;
#[cfg(all(feature = "lab", target_os = "linux"))]
pub mod lab;
#[cfg(not(all(feature = "lab", target_os = "linux")))]
#[path = "session/lab_unsupported.rs"]
pub mod lab;
pub mod lab_shape;
pub mod overrides;
pub mod power;
pub mod recorder;
pub mod run_plan;
pub mod signal;
pub mod target;

use crate::cli_error::CliError;
use consumer::Events;
use meshproof_cluster::{
    ClusterEnvironment, Contexts, DeployOptions, Discovery, ProgressSink, Run, StartError, discover,
};
use meshproof_contract::{Environment, Event, RunId, RunShared, event::Phase};
use meshproof_scenario::Scenario;
use std::sync::Arc;
use target::Target;
use tokio_util::sync::CancellationToken;

/// Clusters with agents in them.
pub struct Session {
    run: Run,
    contexts: Contexts,
    environment: Arc<ClusterEnvironment>,
    shared: Arc<RunShared>,
    events: Events,
}

impl Session {
    /// Connects, discovers, takes the Lease and deploys. On failure or interruption everything is removed again.
    pub async fn open(
        target: &Target,
        id: RunId,
        scenarios: &[Scenario],
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Self, CliError> {
        events.phase(Phase::Discovering);
        let sink = events.clone();
        let progress = ProgressSink::new(move |event| sink.send(event));
        let (contexts, mut discovery) = unless(cancel, connect_and_discover(target, &progress)).await??;
        target.overrides.put_into(&mut discovery, events);

        count_requests(&contexts, events);
        events.phase(Phase::Deploying);
        let run = Run::start_unless(&contexts, id, &progress, cancel)
            .await
            .map_err(not_started)?;
        let options = DeployOptions {
            image: target.image.clone(),
            ready_within: target.ready_within,
            disruption: target.disruption.clone(),
        };
        let deployed = match unless(cancel, run.deploy(discovery, scenarios, &options)).await {
            Ok(deployed) => deployed.map_err(CliError::environment),
            Err(interrupted) => Err(interrupted),
        };
        match deployed {
            Ok(environment) => {
                events.send(Event::FactsFound {
                    facts: Box::new((*environment.facts()).clone()),
                });
                count_requests(&contexts, events);
                Ok(Self {
                    run,
                    contexts,
                    environment,
                    shared: Arc::default(),
                    events: events.clone(),
                })
            }
            Err(error) => {
                tear_down(run, &contexts, events).await;
                Err(error)
            }
        }
    }

    /// What checks see.
    pub fn environment(&self) -> Arc<dyn Environment> {
        self.environment.clone()
    }

    /// What trials on this deployment share, whichever of its runs they belong to.
    pub fn shared(&self) -> Arc<RunShared> {
        self.shared.clone()
    }

    /// What checks see, with what only the benchmark needs.
    pub fn clusters(&self) -> Arc<ClusterEnvironment> {
        self.environment.clone()
    }

    /// Cancelled when the Lease is lost: what is observed from then on is worth nothing.
    pub fn lost(&self) -> CancellationToken {
        self.run.lost()
    }

    /// Removes everything of this run.
    pub async fn close(self) {
        for failure in self.environment.restore_all().await {
            self.events.warning(format!("failed to undo a disruption: {failure}"));
        }
        drop(self.environment);
        tear_down(self.run, &self.contexts, &self.events).await;
    }
}

/// Connects to the target's clusters and reads what is there; changes nothing.
pub async fn connect_and_discover(target: &Target, progress: &ProgressSink) -> Result<(Contexts, Discovery), CliError> {
    let contexts = Contexts::connect(&target.roles, target.kubeconfig.clone(), progress).await?;
    let discovery = discover(&contexts, progress).await.map_err(CliError::environment)?;
    Ok((contexts, discovery))
}

async fn tear_down(run: Run, contexts: &Contexts, events: &Events) {
    count_requests(contexts, events);
    events.phase(Phase::CleaningUp);
    if let Err(error) = run.tear_down().await {
        for failure in error.failures {
            events.warning(format!("{failure}; `meshproof clean` removes the rest"));
        }
    }
    count_requests(contexts, events);
}

fn count_requests(contexts: &Contexts, events: &Events) {
    let requests = contexts.requests();
    events.send(Event::ApiRequests { requests });
}

fn not_started(error: StartError) -> CliError {
    match error {
        StartError::Interrupted => CliError::interrupted(),
        error => CliError::environment(error),
    }
}

/// The future's output, unless the run is interrupted first.
async fn unless<T>(cancel: &CancellationToken, future: impl Future<Output = T>) -> Result<T, CliError> {
    cancel
        .run_until_cancelled(future)
        .await
        .ok_or_else(CliError::interrupted)
}
