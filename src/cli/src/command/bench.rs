//! `meshproof bench`: probes a second by agents' batches against one exec a probe, over the same API servers, pods and paths, in one run.

use super::run::{JOBS, new_run_id, scenarios};
use crate::{
    args::BenchArgs,
    config::Config,
    fatal::Fatal,
    session::{
        Session,
        consumer::Events,
        lab::{Lab, LabNodes},
        place::Place,
        signal::cancelled_by_signals,
    },
};
use anyhow::{Context, anyhow};
use futures::{StreamExt, future::try_join_all, stream};
use meshproof_cluster::ClusterEnvironment;
use meshproof_contract::{
    Action, AgentFacts, AgentId, Environment, Event, Exit, Facts, Outcome, Probe, Target, port, probe::Connection,
};
use meshproof_engine::{Filter, select};
use std::time::{Duration, Instant};

/// How many times faster batches have to be.
const LEAST: f64 = 20.0;
/// The scenario whose clients probe its servers.
const SCENARIO: &str = "connectivity";
/// Deadline of a probe.
const DEADLINE: Duration = Duration::from_secs(5);

/// What one way came to.
struct Figure {
    probes: usize,
    time: Duration,
}

impl Figure {
    fn rate(&self) -> f64 {
        self.probes as f64 / self.time.as_secs_f64()
    }
}

/// Carries out `meshproof bench`.
pub fn bench(args: &BenchArgs) -> Result<Exit, Fatal> {
    super::runtime()?.block_on(async {
        if args.lab {
            let lab = Lab::start(LabNodes::default(), &[]).await?;
            let measured = measure(&lab.place(), args.rounds.into()).await;
            lab.stop().await;
            return measured;
        }
        let config = Config::read(args.target.config.as_deref()).map_err(Fatal::usage)?;
        let place = Place::of(&args.target, &config, args.image.as_deref(), None)?;
        measure(&place, args.rounds.into()).await
    })
}

async fn measure(place: &Place, rounds: usize) -> Result<Exit, Fatal> {
    let (events, mut incoming) = Events::channel();
    tokio::spawn(async move {
        while let Some(event) = incoming.recv().await {
            if let Event::Warning { message } = event {
                eprintln!("meshproof: {message}");
            }
        }
    });
    let cancel = cancelled_by_signals()
        .context("failed to watch for signals")
        .map_err(Fatal::environment)?;
    let filter = Filter {
        suites: vec![SCENARIO.to_owned()],
        ..Filter::default()
    };
    let plan = select(&super::suites(), &place.clusters(), &filter).map_err(Fatal::usage)?;
    let session = Session::open(place, new_run_id(), &scenarios(&plan)?, &events, &cancel).await?;
    let both = async {
        let (environment, facts) = (session.clusters(), session.clusters().facts());
        let exec = by_exec(&environment, &facts).await?;
        let batch = by_batch(&environment, &facts, rounds).await?;
        Ok::<_, Fatal>((exec, batch))
    };
    let interrupted = || Fatal {
        exit: Exit::Interrupted,
        error: anyhow!("interrupted"),
    };
    let measured = cancel.run_until_cancelled(both).await.ok_or_else(interrupted);
    session.close().await;
    let (exec, batch) = measured??;
    Ok(tell(&exec, &batch))
}

/// Every client with a probe to every server, of all clusters.
fn rows(facts: &Facts) -> Vec<(AgentId, Vec<Probe>)> {
    let of = |workload: &'static str| {
        let all = facts.agents.iter();
        all.filter(move |agent: &&AgentFacts| agent.scenario == SCENARIO && agent.workload == workload)
    };
    let probe = |server: &AgentFacts| {
        let action = Action::Http {
            to: Target::new(server.address.to_string(), port::HTTP),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: 0,
            connection: Connection::New,
        };
        Probe::once(action, DEADLINE)
    };
    let probes: Vec<Probe> = of("server").map(probe).collect();
    of("client").map(|client| (client.id.clone(), probes.clone())).collect()
}

/// As many execs at once as a run has trials.
async fn by_exec(environment: &ClusterEnvironment, facts: &Facts) -> Result<Figure, Fatal> {
    let cells: Vec<(AgentId, Probe)> = rows(facts)
        .into_iter()
        .flat_map(|(agent, probes)| probes.into_iter().map(move |probe| (agent.clone(), probe)))
        .collect();
    let probes = cells.len();
    let began = Instant::now();
    let asked = stream::iter(cells).map(|(agent, probe)| async move {
        let outcomes = environment
            .probe_by_exec(&agent, probe)
            .await
            .map_err(Fatal::environment)?;
        answered(&agent, &outcomes, 1)
    });
    let mut asked = asked.buffer_unordered(JOBS.into());
    while let Some(one) = asked.next().await {
        one?;
    }
    figure(probes, began)
}

/// One batch an agent, all agents at once, over the streams that are open anyway.
async fn by_batch(environment: &ClusterEnvironment, facts: &Facts, rounds: usize) -> Result<Figure, Fatal> {
    let rows: Vec<(AgentId, Vec<Probe>)> = rows(facts)
        .into_iter()
        .map(|(agent, probes)| (agent, std::iter::repeat_n(probes, rounds).flatten().collect()))
        .collect();
    let probes = rows.iter().map(|(_, probes)| probes.len()).sum();
    let began = Instant::now();
    try_join_all(rows.into_iter().map(|(agent, batch)| async move {
        let expected = batch.len();
        let outcomes = environment.probe(&agent, batch).await.map_err(Fatal::environment)?;
        answered(&agent, &outcomes, expected)
    }))
    .await?;
    figure(probes, began)
}

/// Only answers count: a probe that fails at once would be a fast one.
fn answered(agent: &AgentId, outcomes: &[Outcome], expected: usize) -> Result<(), Fatal> {
    let good = outcomes
        .iter()
        .filter(|outcome| outcome.is_success() && outcome.served_by().is_some())
        .count();
    match good == expected {
        true => Ok(()),
        false => Err(Fatal::environment(anyhow!(
            "{good} of {expected} probes of {}/{} were answered, so there is nothing to compare",
            agent.cluster,
            agent.pod
        ))),
    }
}

fn figure(probes: usize, began: Instant) -> Result<Figure, Fatal> {
    match probes {
        0 => Err(Fatal::environment(anyhow!(
            "no client and server are ready, so nothing was measured"
        ))),
        probes => Ok(Figure {
            probes,
            time: began.elapsed(),
        }),
    }
}

fn tell(exec: &Figure, batch: &Figure) -> Exit {
    let ratio = batch.rate() / exec.rate();
    println!(
        "{:<28} {:>8} {:>9} {:>10}",
        "HTTP, every client to server", "probes", "seconds", "probes/s"
    );
    for (name, figure) in [
        (format!("one exec a probe, {JOBS} at once"), exec),
        ("one batch an agent".to_owned(), batch),
    ] {
        let (seconds, rate) = (figure.time.as_secs_f64(), figure.rate());
        println!("{name:<28} {:>8} {seconds:>9.3} {rate:>10.0}", figure.probes);
    }
    println!("ratio {ratio:.1} (at least {LEAST:.0} is required)");
    match ratio >= LEAST {
        true => Exit::Passed,
        false => Exit::Failed,
    }
}
