//! `meshproof bench`: the probe rate of agents' batches and of one exec per probe, over the same API servers, pods and
//! paths, in one run.

use crate::{
    args::BenchArgs,
    cli_error::CliError,
    config::Config,
    runtime::runtime,
    session::{
        Session,
        consumer::Events,
        lab::Lab,
        lab_shape::LabShape,
        run_plan::{self, JOBS},
        signal::cancelled_by_signals,
        target::Target,
    },
};
use anyhow::anyhow;
use futures::{StreamExt, future::try_join_all, stream};
use meshproof_cluster::ClusterEnvironment;
use meshproof_contract::{
    Action, AgentFacts, AgentId, Environment, Exit, Facts, Outcome, Probe, Target as ProbeTarget, port,
    probe::Connection,
};
use meshproof_engine::{Filter, select};
use std::time::{Duration, Instant};

/// How many times faster batches have to be.
const LEAST: f64 = 20.0;
/// The scenario whose clients probe its servers.
const SCENARIO: &str = "connectivity";
/// Deadline of a probe.
const DEADLINE: Duration = Duration::from_secs(5);

/// What one way of probing achieved.
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
pub fn bench(args: &BenchArgs) -> Result<Exit, CliError> {
    runtime()?.block_on(async {
        if args.lab {
            let lab = Lab::start(LabShape::default(), &[]).await?;
            let measured = measure(&lab.target(), args.rounds.into()).await;
            lab.stop().await;
            return measured;
        }
        let config = Config::read(args.target.config.as_deref()).map_err(CliError::usage)?;
        let target = Target::of(&args.target, &config, args.image.as_deref(), None)?;
        measure(&target, args.rounds.into()).await
    })
}

async fn measure(target: &Target, rounds: usize) -> Result<Exit, CliError> {
    let events = Events::warnings_on_stderr();
    let cancel = cancelled_by_signals()?;
    let filter = Filter {
        suites: vec![SCENARIO.to_owned()],
        ..Filter::default()
    };
    let plan = select(&run_plan::suites(), &target.clusters(), &[], &filter).map_err(CliError::usage)?;
    let (id, scenarios) = (run_plan::new_run_id(), run_plan::scenarios(&plan, &[])?);
    let session = Session::open(target, id, &scenarios, &events, &cancel).await?;
    let both = async {
        let (environment, facts) = (session.clusters(), session.clusters().facts());
        let exec = by_exec(&environment, &facts).await?;
        let batch = by_batch(&environment, &facts, rounds).await?;
        Ok::<_, CliError>((exec, batch))
    };
    let measured = cancel.run_until_cancelled(both).await;
    session.close().await;
    let (exec, batch) = measured.ok_or_else(CliError::interrupted)??;
    Ok(compare(&exec, &batch))
}

/// Every client with a probe to every server, of all clusters.
fn rows(facts: &Facts) -> Vec<(AgentId, Vec<Probe>)> {
    let of = |workload: &'static str| {
        let all = facts.agents.iter();
        all.filter(move |agent: &&AgentFacts| agent.scenario == SCENARIO && agent.workload == workload)
    };
    let probe = |server: &AgentFacts| {
        let action = Action::Http {
            to: ProbeTarget::new(server.address.to_string(), port::HTTP),
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
async fn by_exec(environment: &ClusterEnvironment, facts: &Facts) -> Result<Figure, CliError> {
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
            .map_err(CliError::environment)?;
        answered(&agent, &outcomes, 1)
    });
    let mut asked = asked.buffer_unordered(JOBS.into());
    while let Some(one) = asked.next().await {
        one?;
    }
    figure(probes, began)
}

/// One batch an agent, all agents at once, over the streams that are open anyway.
async fn by_batch(environment: &ClusterEnvironment, facts: &Facts, rounds: usize) -> Result<Figure, CliError> {
    let rows: Vec<(AgentId, Vec<Probe>)> = rows(facts)
        .into_iter()
        .map(|(agent, probes)| (agent, std::iter::repeat_n(probes, rounds).flatten().collect()))
        .collect();
    let probes = rows.iter().map(|(_, probes)| probes.len()).sum();
    let began = Instant::now();
    try_join_all(rows.into_iter().map(|(agent, batch)| async move {
        let expected = batch.len();
        let outcomes = environment.probe(&agent, batch).await.map_err(CliError::environment)?;
        answered(&agent, &outcomes, expected)
    }))
    .await?;
    figure(probes, began)
}

/// Only answers count: a probe that fails at once would be a fast one.
fn answered(agent: &AgentId, outcomes: &[Outcome], expected: usize) -> Result<(), CliError> {
    let good = outcomes
        .iter()
        .filter(|outcome| outcome.is_success() && outcome.served_by().is_some())
        .count();
    if good == expected {
        return Ok(());
    }
    Err(CliError::environment(anyhow!(
        "{good} of {expected} probes of {}/{} were answered, so the rates cannot be compared",
        agent.cluster,
        agent.pod
    )))
}

fn figure(probes: usize, began: Instant) -> Result<Figure, CliError> {
    if probes == 0 {
        return Err(CliError::environment(anyhow!(
            "no client and server are ready, so nothing was measured"
        )));
    }
    Ok(Figure {
        probes,
        time: began.elapsed(),
    })
}

fn compare(exec: &Figure, batch: &Figure) -> Exit {
    let ratio = batch.rate() / exec.rate();
    println!(
        "{:<28} {:>8} {:>9} {:>10}",
        "HTTP, every client to server", "probes", "seconds", "probes/s"
    );
    for (name, figure) in [
        (format!("one exec per probe, {JOBS} jobs"), exec),
        ("one batch per agent".to_owned(), batch),
    ] {
        let (seconds, rate) = (figure.time.as_secs_f64(), figure.rate());
        println!("{name:<28} {:>8} {seconds:>9.3} {rate:>10.0}", figure.probes);
    }
    println!("ratio {ratio:.1} (at least {LEAST:.0} is required)");
    if ratio >= LEAST { Exit::Passed } else { Exit::Failed }
}
