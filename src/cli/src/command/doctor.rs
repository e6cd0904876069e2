//! `meshproof doctor`: whether a run can start, and what each suite will be able to do. Reads the clusters, changes
//! nothing in them.

mod sheet;

use crate::{
    args::DoctorArgs,
    cli_error::CliError,
    config::Config,
    runtime::runtime,
    session::{consumer::Events, run_plan::suites, target::Target},
};
use futures::future::join_all;
use meshproof_cluster::{
    ApiError, Contexts, Discovery, ProgressSink, PullPolicy, Role,
    access::{Rights, nodes_with_image, rights},
    discover,
};
use meshproof_contract::{Consent, Exit, Facts, text::counted};
use meshproof_engine::{Filter, select, unclaimed};
use sheet::{Sheet, State};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// A cluster that takes longer is told as one that does not answer: the whole command takes 5 s at most.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// Looks, prints, and says whether a run can start.
pub fn doctor(args: &DoctorArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let config = Config::read(args.target.config.as_deref()).map_err(CliError::usage)?;
    let target = Target::of(&args.target, &config, args.image.as_deref(), args.pull_policy)?;
    let clusters = target.clusters();
    let others = config.contexts.keys().map(String::as_str);
    config.claims.verify(&clusters, others).map_err(CliError::usage)?;
    let consent = match args.disruptive || config.disruptive {
        true => Consent::Given,
        false => Consent::Withheld,
    };
    let sheet = runtime()?.block_on(examine(&target, consent));
    match out.write_all(sheet.text().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::environment(error)),
        _ if sheet.is_bad() => Ok(Exit::Usage),
        _ => Ok(Exit::Passed),
    }
}

async fn examine(target: &Target, consent: Consent) -> Sheet {
    let mut sheet = Sheet::default();
    let looked = join_all(target.roles.iter().map(|role| cluster(target, role, consent))).await;
    let (mut discovery, mut all) = (Discovery::default(), true);
    for (mut lines, found) in looked {
        sheet.append(&mut lines);
        match found {
            Some(found) => {
                discovery.clusters.extend(found.clusters);
                discovery.claims.extend(found.claims);
            }
            None => all = false,
        }
    }
    if all {
        // Only together they show whether two contexts lead to one cluster.
        let together = Contexts::connect(&target.roles, target.kubeconfig.clone(), &quiet()).await;
        if let Err(error) = together {
            sheet.add("clusters", State::Bad, error.to_string());
        }
        claims_and_suites(&mut sheet, target, discovery);
        if consent == Consent::Withheld {
            let text = "checks that disrupt the clusters are skipped without --disruptive, suite failover among them";
            sheet.add("disruption", State::Note, text.to_owned());
        }
    }
    sheet
}

fn quiet() -> ProgressSink {
    ProgressSink::new(|_| {})
}

/// What one cluster shows, within its time.
async fn cluster(target: &Target, role: &Role, consent: Consent) -> (Sheet, Option<Discovery>) {
    let mut sheet = Sheet::default();
    let name = role.cluster.as_str();
    match timeout(PATIENCE, within_time(&mut sheet, target, role, consent)).await {
        Ok(found) => (sheet, found),
        Err(_) => {
            let seconds = PATIENCE.as_secs_f64();
            let text = format!("context {}: no answer within {seconds:.1} s", role.context);
            let next = format!("kubectl --context {} --request-timeout 5s get nodes", role.context);
            sheet.add_with_next(name, State::Bad, text, next);
            (sheet, None)
        }
    }
}

async fn within_time(sheet: &mut Sheet, target: &Target, role: &Role, consent: Consent) -> Option<Discovery> {
    let name = role.cluster.as_str();
    let begun = Instant::now();
    let roles = std::slice::from_ref(role);
    let contexts = match Contexts::connect(roles, target.kubeconfig.clone(), &quiet()).await {
        Ok(contexts) => contexts,
        Err(error) => {
            sheet.add(name, State::Bad, error.to_string());
            return None;
        }
    };
    let client = contexts.clients().first()?;
    let took = begun.elapsed().as_millis();
    let server = &client.endpoint().server;
    sheet.add(
        name,
        State::Good,
        format!("context {}: {server} answers in {took} ms", role.context),
    );
    let (warnings, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let progress = ProgressSink::new(move |event| {
        if let meshproof_contract::Event::Warning { message } = event {
            // Nobody listens any more only when the time is over.
            let _ = warnings.send(message);
        }
    });
    let (found, may, image) = tokio::join!(
        discover(&contexts, &progress),
        rights(client, consent),
        nodes_with_image(client, &target.image.reference)
    );
    let found = match found {
        Ok(found) => Some(found),
        Err(error) => {
            sheet.add(name, State::Bad, error.to_string());
            None
        }
    };
    if let Some(found) = &found {
        versions(sheet, name, found);
    }
    told_rights(sheet, name, role, consent, may);
    told_image(sheet, name, target, image);
    while let Ok(message) = seen.try_recv() {
        sheet.add(name, State::Note, message);
    }
    found
}

fn versions(sheet: &mut Sheet, name: &str, found: &Discovery) {
    for cluster in &found.clusters {
        let nodes = counted(cluster.nodes.len(), "node");
        let text = format!("Kubernetes {}, {nodes}", cluster.version);
        match &cluster.cilium {
            Some(cilium) if cilium.version.is_empty() => {
                sheet.add(name, State::Note, format!("{text}, Cilium of unknown version"))
            }
            Some(cilium) => sheet.add(name, State::Good, format!("{text}, Cilium {}", cilium.version)),
            None => sheet.add_with_next(
                name,
                State::Bad,
                format!("{text}, and Cilium was not found"),
                format!(
                    "kubectl --context {} get daemonsets -A -l k8s-app=cilium",
                    cluster.context
                ),
            ),
        }
    }
}

fn told_rights(sheet: &mut Sheet, name: &str, role: &Role, consent: Consent, may: Result<Rights, ApiError>) {
    let may = match may {
        Ok(may) => may,
        Err(error) => return sheet.add(name, State::Note, format!("what the user may do is unknown: {error}")),
    };
    let flag = match consent {
        Consent::Given => " --disruptive",
        Consent::Withheld => "",
    };
    let next = format!(
        "meshproof rbac{flag} | kubectl --context {} apply -f - && meshproof rbac --help",
        role.context
    );
    for missing in &may.missing {
        let state = match missing.is_required() && !may.is_incomplete {
            true => State::Bad,
            false => State::Note,
        };
        let text = format!("the user may not {}; needed for: {}", missing.what, missing.rule.why);
        sheet.add_with_next(name, state, text, next.clone());
    }
    if may.missing.is_empty() {
        sheet.add(
            name,
            State::Good,
            format!("the user may do all that `meshproof rbac{flag}` lists"),
        );
    }
    if !may.reads_helm_release {
        let text = "the user may not read the Helm release of Cilium: suite gitops cannot compare it".to_owned();
        let next = format!(
            "meshproof rbac --helm-release | kubectl --context {} apply -f -",
            role.context
        );
        sheet.add_with_next(name, State::Note, text, next);
    }
}

fn told_image(sheet: &mut Sheet, name: &str, target: &Target, image: Result<(usize, usize), ApiError>) {
    let (reference, pull) = (&target.image.reference, target.image.pull);
    let Ok((with, nodes)) = image else {
        let text = format!("whether nodes have image {reference} is unknown: nodes cannot be listed");
        return sheet.add(name, State::Note, text);
    };
    let text = format!("image {reference} is on {with} of {}", counted(nodes, "node"));
    match pull {
        _ if with == nodes => sheet.add(name, State::Good, text),
        PullPolicy::Never => sheet.add_with_next(
            name,
            State::Bad,
            format!("{text}, and the pull policy is Never"),
            "meshproof image --help".to_owned(),
        ),
        // A kubelet reports 50 images at most, so an image that is not reported may be there.
        _ => sheet.add(
            name,
            State::Note,
            format!("{text}; nodes without it must be able to pull it"),
        ),
    }
}

/// Which trials of each suite will run, and why the others will not.
fn claims_and_suites(sheet: &mut Sheet, target: &Target, mut discovery: Discovery) {
    let (events, mut told) = Events::channel();
    target.overrides.put_into(&mut discovery, &events);
    while let Ok(event) = told.try_recv() {
        if let meshproof_contract::Event::Warning { message } = event {
            sheet.add("claims", State::Note, message);
        }
    }
    let facts = Facts {
        clusters: discovery.clusters,
        claims: discovery.claims,
        ..Facts::default()
    };
    if let Some(notice) = facts.live_claims_notice() {
        sheet.add_with_next("claims", State::Note, notice, "meshproof init --help".to_owned());
    }
    let (clusters, flows) = (target.clusters(), &target.overrides.flows);
    let Ok(plan) = select(&suites(), &clusters, flows, &Filter::default()) else {
        return;
    };
    let mut by_suite: BTreeMap<String, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
    for trial in plan.trials() {
        let suite = by_suite.entry(trial.check.id().suite().to_owned()).or_default();
        suite.0 += 1;
        if let Some(why) = unclaimed(trial.check.needs(), &trial.instance, &facts) {
            *suite.1.entry(why).or_default() += 1;
        }
    }
    for (suite, (all, skipped)) in by_suite {
        let left_out: usize = skipped.values().sum();
        let mut text = match left_out {
            0 => counted(all, "check"),
            n => format!("{} of {}", all - n, counted(all, "check")),
        };
        for (why, number) in &skipped {
            text.push_str(&format!("; {number} skipped: {why}"));
        }
        let state = if left_out == all { State::Note } else { State::Good };
        sheet.add(&suite, state, text);
    }
}
