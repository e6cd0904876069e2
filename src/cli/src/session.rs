//! Clusters held for a while: connected, discovered, deployed to, and given back whatever happens in between.

pub mod consumer;
pub mod fault;
#[cfg(target_os = "linux")]
pub mod lab;
#[cfg(not(target_os = "linux"))]
#[path = "session/elsewhere.rs"]
pub mod lab;
pub mod place;
pub mod power;
pub mod signal;
pub mod stated;
pub mod tap;

use crate::fatal::Fatal;
use anyhow::anyhow;
use consumer::Events;
use meshproof_cluster::{ClusterEnvironment, Contexts, DeployOptions, Progress, Run, StartError, discover};
use meshproof_contract::{Environment, Event, Exit, RunId, RunShared, event::Phase};
use meshproof_scenario::Scenario;
use place::Place;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Clusters with agents in them.
pub struct Session {
    run: Run,
    environment: Arc<ClusterEnvironment>,
    shared: Arc<RunShared>,
    events: Events,
}

impl Session {
    /// Connects, discovers, takes the Lease and deploys. On failure or interruption everything is removed again.
    pub async fn open(
        place: &Place,
        id: RunId,
        scenarios: &[Scenario],
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Self, Fatal> {
        events.phase(Phase::Discovering);
        let sink = events.clone();
        let progress = Progress::new(move |event| sink.send(event));
        let connecting = Contexts::connect(&place.roles, place.kubeconfig.clone(), &progress);
        let contexts = unless(cancel, connecting)
            .await?
            .map_err(|error| match error.is_configuration() {
                true => Fatal::usage(error),
                false => Fatal::environment(error),
            })?;
        let mut discovery = unless(cancel, discover(&contexts, &progress))
            .await?
            .map_err(Fatal::environment)?;
        place.stated.put_into(&mut discovery, events);

        events.phase(Phase::Deploying);
        let run = Run::start_unless(&contexts, id, &progress, cancel)
            .await
            .map_err(started_badly)?;
        let options = DeployOptions {
            image: place.image.clone(),
            ready_within: place.ready_within,
            thresholds: place.stated.thresholds.clone(),
            outside: place.stated.outside.clone(),
            generation: place.stated.generation,
            disruptive: place.disruptive.clone(),
        };
        let deployed = match unless(cancel, run.deploy(discovery, scenarios, &options)).await {
            Ok(Ok(environment)) => Ok(environment),
            Ok(Err(error)) => Err(Fatal::environment(error)),
            Err(interrupted) => Err(interrupted),
        };
        match deployed {
            Ok(environment) => {
                events.send(Event::FactsFound {
                    facts: Box::new((*environment.facts()).clone()),
                });
                Ok(Self {
                    run,
                    environment,
                    shared: Arc::default(),
                    events: events.clone(),
                })
            }
            Err(fatal) => {
                tear_down(run, events).await;
                Err(fatal)
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

    /// The same with what only the benchmark needs.
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
            self.events
                .warning(format!("what a check disturbed was not undone: {failure}"));
        }
        drop(self.environment);
        tear_down(self.run, &self.events).await;
    }
}

async fn tear_down(run: Run, events: &Events) {
    events.phase(Phase::CleaningUp);
    if let Err(error) = run.tear_down().await {
        for failure in error.failures {
            events.warning(format!("{failure}; `meshproof clean` removes the rest"));
        }
    }
}

fn started_badly(error: StartError) -> Fatal {
    match error {
        StartError::Interrupted => interrupted(),
        error => Fatal::environment(error),
    }
}

fn interrupted() -> Fatal {
    Fatal {
        exit: Exit::Interrupted,
        error: anyhow!("interrupted"),
    }
}

/// The future's output, unless the run is interrupted first.
async fn unless<T>(cancel: &CancellationToken, future: impl Future<Output = T>) -> Result<T, Fatal> {
    cancel.run_until_cancelled(future).await.ok_or_else(interrupted)
}
