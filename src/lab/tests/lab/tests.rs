//! The tests.

use crate::{
    client::{self, Result, address, client, deploy_agents, eventually, is_ready, name, ready_pods, text},
    remains::Belongings,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, DeleteParams, LogParams, PostParams};
use meshproof_contract::{Action, Outcome, Probe, Target};
use meshproof_lab::{
    Control, ControlError, LabIsolation, LabOptions, LaunchError, Lifetime, NodeGrace, Registration, RunningLab, launch,
};
use meshproof_wire::{Answer, Command};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Gid, Pid, Uid, setgid, setgroups, setuid},
};
use serde_json::json;
use std::{
    process::{Command as Program, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// Hidden modes of this executable, for tests that need a process of another kind.
pub const UNPRIVILEGED: &str = "as-nobody";
pub const FORBIDDEN: &str = "without-namespaces";
pub const LAUNCHER: &str = "launch-and-wait";

type Test = fn() -> Result<()>;

pub const ALL: &[(&str, Test)] = &[
    (
        "agents_get_ready_and_reach_each_other",
        agents_get_ready_and_reach_each_other,
    ),
    ("a_fault_acts_and_heals", a_fault_acts_and_heals),
    (
        "a_killed_agent_is_restarted_and_a_deleted_pod_replaced",
        a_killed_agent_is_restarted,
    ),
    ("an_unknown_image_cannot_be_pulled", an_unknown_image_cannot_be_pulled),
    ("exec_and_logs_work", exec_and_logs_work),
    ("a_killed_engine_leaves_nothing", || {
        nothing_is_left_after_killing(Part::Engine)
    }),
    ("a_killed_outer_process_leaves_nothing", || {
        nothing_is_left_after_killing(Part::Outer)
    }),
    ("a_killed_launcher_leaves_nothing", a_killed_launcher_leaves_nothing),
    ("an_orderly_shutdown_leaves_nothing", an_orderly_shutdown_leaves_nothing),
    (
        "a_lost_node_is_noticed_late_and_comes_back",
        a_lost_node_is_noticed_late,
    ),
    ("it_works_without_privileges", || in_mode(UNPRIVILEGED)),
    ("forbidden_namespaces_are_a_typed_error", || in_mode(FORBIDDEN)),
];

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(text)?;
    let deadline = Duration::from_secs(60);
    let limited = async { tokio::time::timeout(deadline, work).await };
    runtime
        .block_on(limited)
        .unwrap_or_else(|_| Err(format!("the test was not over after {} s", deadline.as_secs())))
}

async fn start() -> Result<RunningLab> {
    launch(LabOptions::default()).await.map_err(text)
}

async fn end(lab: RunningLab) -> Result<()> {
    lab.shutdown().await.map_err(text)
}

fn echo(to: &str) -> Probe {
    let action = Action::TcpEcho {
        to: Target::new(to, meshproof_contract::port::TCP),
        payload: 64,
    };
    Probe::once(action, Duration::from_secs(3))
}

/// Asks one agent to reach addresses over TCP.
async fn reach(client: &kube::Client, from: &Pod, to: &[String]) -> Result<Vec<Outcome>> {
    let probes = to.iter().map(|address| echo(address)).collect();
    match client::command(client, from, Command::Batch { probes }).await? {
        (_, Answer::Outcomes { outcomes }) => Ok(outcomes),
        (_, other) => Err(format!("the agent answered {other:?}")),
    }
}

fn all_connected(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.served_by().is_some())
}

fn agents_get_ready_and_reach_each_other() -> Result<()> {
    block_on(async {
        let begun = Instant::now();
        let lab = start().await?;
        eprintln!("booted in {} ms", begun.elapsed().as_millis());
        let status = lab.control().status().await.map_err(text)?;
        if status.clusters.len() != 2
            || status
                .clusters
                .iter()
                .any(|c| c.nodes.len() != 3 || c.nodes.iter().any(|n| !n.ready))
        {
            return Err(format!("expected two clusters of three ready nodes, got {status:?}"));
        }
        // By the path that a user is given, as another program would read it.
        let kubeconfig = std::fs::read_to_string(lab.kubeconfig_path()).map_err(text)?;
        let (infra, apps) = (client(&kubeconfig, "infra").await?, client(&kubeconfig, "apps").await?);
        let begun = Instant::now();
        let (near, far) = tokio::try_join!(deploy_agents(&infra, "infra", 3), deploy_agents(&apps, "apps", 3))?;
        eprintln!("agents ready after {} ms", begun.elapsed().as_millis());
        let everybody: Vec<_> = near.iter().chain(&far).map(address).collect();
        for (client, pods) in [(&infra, &near), (&apps, &far)] {
            for pod in pods {
                let outcomes = reach(client, pod, &everybody).await?;
                if outcomes.len() != 6 || !all_connected(&outcomes) {
                    return Err(format!("{} should reach all six agents, got {outcomes:#?}", name(pod)));
                }
            }
        }
        end(lab).await
    })
}

fn a_fault_acts_and_heals() -> Result<()> {
    block_on(async {
        let lab = start().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        let mut pods = deploy_agents(&infra, "infra", 3).await?;
        pods.sort_by_key(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
        let second = [address(&pods[1])];
        let control = lab.control();
        let before = reach(&infra, &pods[0], &second).await?;
        control.inject("node-pair-blackhole").await.map_err(text)?;
        let under = reach(&infra, &pods[0], &second).await?;
        let other = reach(&infra, &pods[0], &[address(&pods[2])]).await?;
        control.heal("node-pair-blackhole").await.map_err(text)?;
        let after = reach(&infra, &pods[0], &second).await?;
        if !all_connected(&before) || all_connected(&under) || !all_connected(&other) || !all_connected(&after) {
            return Err(format!(
                "expected an answer before, none under the fault, one from elsewhere, one after; got {before:?} {under:?} {other:?} {after:?}"
            ));
        }
        match control.inject("no-such-fault").await {
            Err(error) if error.to_string().contains("no-such-fault") => {}
            other => return Err(format!("an unknown fault should be refused by name, got {other:?}")),
        }
        end(lab).await
    })
}

fn a_killed_agent_is_restarted() -> Result<()> {
    block_on(async {
        let lab = start().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        let pods = deploy_agents(&infra, "infra", 3).await?;
        let victim = name(&pods[0]).to_owned();
        let mine = Belongings::of(std::process::id());
        let process = mine
            .titled(&format!("test/{victim}"))
            .next()
            .ok_or("the agent's process was not found")?
            .pid;
        kill(Pid::from_raw(process as i32), Signal::SIGKILL).map_err(text)?;
        let api: Api<Pod> = Api::namespaced(infra.clone(), "test");
        eventually("a killed agent is restarted", || async {
            let pod = api.get(&victim).await.map_err(text)?;
            let status = pod
                .status
                .clone()
                .and_then(|s| s.container_statuses)
                .unwrap_or_default();
            let killed = status
                .first()
                .and_then(|s| s.last_state.clone()?.terminated)
                .is_some_and(|t| t.exit_code == 137);
            let restarted = status.first().is_some_and(|s| s.restart_count == 1);
            if restarted && killed && is_ready(&pod) {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await?;
        api.delete(&victim, &DeleteParams::default()).await.map_err(text)?;
        eventually("a deleted pod is replaced", || async {
            let pods = ready_pods(&infra, 3).await?;
            if pods.iter().all(|pod| name(pod) != victim) {
                Ok(())
            } else {
                Err("it is still there".to_owned())
            }
        })
        .await?;
        end(lab).await
    })
}

fn an_unknown_image_cannot_be_pulled() -> Result<()> {
    block_on(async {
        let lab = start().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        let api: Api<Pod> = Api::namespaced(infra.clone(), "default");
        let pod =
            json!({"metadata": {"name": "stranger"}, "spec": {"containers": [{"name": "a", "image": "busybox:1"}]}});
        api.create(&PostParams::default(), &serde_json::from_value(pod).map_err(text)?)
            .await
            .map_err(text)?;
        eventually("the pod waits in ImagePullBackOff", || async {
            let pod = api.get("stranger").await.map_err(text)?;
            let status = pod.status.and_then(|s| s.container_statuses).unwrap_or_default();
            let reason = status.first().and_then(|s| s.state.clone()?.waiting?.reason);
            if reason.as_deref() == Some("ImagePullBackOff") {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await?;
        end(lab).await
    })
}

/// Gives a step five seconds, and says which one it was that did not end.
async fn within<T, E: std::fmt::Display>(
    step: &str,
    work: impl Future<Output = std::result::Result<T, E>>,
) -> Result<T> {
    match tokio::time::timeout(Duration::from_secs(5), work).await {
        Ok(done) => done.map_err(|error| format!("{step}: {error}")),
        Err(_) => Err(format!("{step}: not over after 5 s")),
    }
}

fn exec_and_logs_work() -> Result<()> {
    block_on(async {
        let lab = start().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        let pods = deploy_agents(&infra, "infra", 3).await?;
        let api: Api<Pod> = Api::namespaced(infra.clone(), "test");
        let pod = name(&pods[0]);
        speak_over_exec(&api, pod).await?;

        let attach = AttachParams::default().stdin(false).stdout(false).stderr(true);
        let mut process = within("exec sh", api.exec(pod, ["sh", "-c", "true"], &attach)).await?;
        let status = process.take_status().ok_or("no status")?;
        let status = within("status of sh", async { status.await.ok_or("there was none") }).await?;
        let code = status
            .details
            .as_ref()
            .and_then(|d| d.causes.as_ref()?.first()?.message.clone());
        if code.as_deref() != Some("127") {
            return Err(format!(
                "a command that is not there should end with 127, got {status:?}"
            ));
        }
        let log = within("logs", api.logs(pod, &LogParams::default())).await?;
        if !log.contains("serves as infra/") {
            return Err(format!("the log should have the agent's first line, it is {log:?}"));
        }
        end(lab).await
    })
}

async fn speak_over_exec(api: &Api<Pod>, pod: &str) -> Result<()> {
    let attach = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process = within("exec control", api.exec(pod, ["meshproof-agent", "control"], &attach)).await?;
    let (stdin, stdout) = (process.stdin().ok_or("no stdin")?, process.stdout().ok_or("no stdout")?);
    let mut stream = tokio::io::join(stdout, stdin);
    let (hello, answer) = within("control over exec", client::converse(&mut stream, Command::Ping)).await?;
    if answer != Answer::Done || hello.identity.pod != *pod {
        return Err(format!("expected {pod} to be done, got {hello:?} {answer:?}"));
    }
    let search = hello.search.first().map_or("", String::as_str);
    if hello.nameservers != ["10.96.0.10"] || !search.starts_with("test.svc.cluster.local") {
        return Err(format!(
            "the agent should see a pod's resolv.conf, got {:?} {:?}",
            hello.nameservers, hello.search
        ));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Engine,
    Outer,
}

fn nothing_is_left_after_killing(part: Part) -> Result<()> {
    block_on(async {
        let lab = start().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        deploy_agents(&infra, "infra", 3).await?;
        let mine = Belongings::of(std::process::id());
        if mine.titled("meshproof-agent:").count() < 3 || mine.namespaces() < 10 || mine.sockets() != 1 {
            return Err(format!(
                "expected agents and namespaces before the kill, found {mine:?}"
            ));
        }
        let victim = match part {
            Part::Engine => lab.pid(),
            Part::Outer => mine.processes.iter().map(|p| p.pid).min().unwrap_or_default(),
        };
        kill(Pid::from_raw(victim as i32), Signal::SIGKILL).map_err(text)?;
        lab.ended().await;
        mine.must_be_gone()
    })
}

fn an_orderly_shutdown_leaves_nothing() -> Result<()> {
    block_on(async {
        let lab = start().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        deploy_agents(&infra, "infra", 3).await?;
        let mine = Belongings::of(std::process::id());
        let begun = Instant::now();
        end(lab).await?;
        if begun.elapsed() > Duration::from_secs(2) {
            return Err(format!("the shutdown took {:?}", begun.elapsed()));
        }
        mine.must_be_gone()
    })
}

fn a_lost_node_is_noticed_late() -> Result<()> {
    block_on(async {
        let mut options = LabOptions::default();
        options.lab.node_grace = NodeGrace(Duration::from_secs(1));
        let lab = launch(options).await.map_err(text)?;
        let apps = client(lab.kubeconfig(), "apps").await?;
        let pods = deploy_agents(&apps, "apps", 3).await?;
        let on_lost = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("apps-3");
        let victim = name(pods.iter().find(on_lost).ok_or("no agent on apps-3")?).to_owned();
        let api: Api<Pod> = Api::namespaced(apps.clone(), "test");
        lab.control().inject("node-lost").await.map_err(text)?;
        eventually("a pod of a lost node loses its readiness and nothing else", || async {
            let pod = api.get(&victim).await.map_err(text)?;
            let status = pod.status.clone().unwrap_or_default();
            let container = status
                .container_statuses
                .as_ref()
                .and_then(|all| all.first().map(|c| c.ready));
            let running = status.phase.as_deref() == Some("Running") && container == Some(true);
            if !is_ready(&pod) && running {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await?;
        lab.control().heal("node-lost").await.map_err(text)?;
        ready_pods(&apps, 3).await?;
        end(lab).await
    })
}

/// A lab that goes on without its launcher, and is found by its user.
async fn find_and_stop() -> Result<()> {
    let options = || LabOptions {
        isolation: LabIsolation::UserNamespace,
        registration: Registration::WellKnown,
        lifetime: Lifetime::Detached,
        ..LabOptions::default()
    };
    let lab = launch(options()).await.map_err(text)?;
    let mine = Belongings::of(std::process::id());
    drop(lab);
    match launch(options()).await {
        Err(LaunchError::AlreadyRunning) => {}
        other => return Err(format!("a second lab should be refused, got {other:?}")),
    }
    let found = Control::find().await.map_err(text)?;
    let status = found.status().await.map_err(text)?;
    if status.clusters.len() != 2 {
        return Err(format!("expected two clusters, got {status:?}"));
    }
    found.stop().await.map_err(text)?;
    mine.must_be_gone()?;
    match Control::find().await {
        Err(ControlError::NotRunning) => Ok(()),
        other => Err(format!("expected that no lab runs any more, got {other:?}")),
    }
}

/// Runs this executable in one of its hidden modes, which says what went wrong on stderr.
fn in_mode(mode: &str) -> Result<()> {
    let output = Program::new("/proc/self/exe").arg(mode).output().map_err(text)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status))
    }
}

fn conclude(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// A lab in a user namespace, for a user without privileges if this one has some.
pub fn as_nobody() -> ExitCode {
    if Uid::current().is_root() {
        let nobody = || -> nix::Result<()> {
            setgroups(&[])?;
            setgid(Gid::from_raw(65534))?;
            setuid(Uid::from_raw(65534))
        };
        if let Err(error) = nobody() {
            return conclude(Err(format!("failed to become nobody: {error}")));
        }
        // Changing the user makes a process undumpable, and its /proc entries root's.
        let _ = nix::sys::prctl::set_dumpable(true);
    }
    conclude(block_on(async {
        let lab = launch(LabOptions {
            isolation: LabIsolation::UserNamespace,
            ..LabOptions::default()
        })
        .await
        .map_err(text)?;
        let kubeconfig = std::fs::read_to_string(lab.kubeconfig_path()).map_err(text)?;
        let infra = client(&kubeconfig, "infra").await?;
        let pods = deploy_agents(&infra, "infra", 3).await?;
        let everybody: Vec<_> = pods.iter().map(address).collect();
        let outcomes = reach(&infra, &pods[0], &everybody).await?;
        if !all_connected(&outcomes) {
            return Err(format!("expected three answers, got {outcomes:?}"));
        }
        let mine = Belongings::of(std::process::id());
        end(lab).await?;
        mine.must_be_gone()?;
        find_and_stop().await
    }))
}

/// In a user namespace that allows no further ones, a lab must be refused with advice.
pub fn without_namespaces() -> ExitCode {
    use nix::sched::{CloneFlags, unshare};
    let forbid = || -> std::io::Result<()> {
        let (uid, gid) = (Uid::current(), Gid::current());
        unshare(CloneFlags::CLONE_NEWUSER)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        for kind in ["user", "net", "pid"] {
            std::fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "0")?;
        }
        Ok(())
    };
    if let Err(error) = forbid() {
        return conclude(Err(format!("failed to forbid namespaces: {error}")));
    }
    conclude(block_on(async {
        match launch(LabOptions::default()).await {
            Err(LaunchError::Forbidden(why)) if why.contains("sysctl") => Ok(()),
            Err(other) => Err(format!("expected Forbidden with advice, got {other:?}")),
            Ok(_) => Err("expected Forbidden, got a lab".to_owned()),
        }
    }))
}

/// Starts a lab, says so on stdout, and waits for ever.
pub fn launch_and_wait() -> ExitCode {
    conclude(block_on(async {
        let lab = start().await?;
        println!("{}", lab.pid());
        lab.ended().await;
        Err("the lab ended".to_owned())
    }))
}

fn a_killed_launcher_leaves_nothing() -> Result<()> {
    use std::io::{BufRead, BufReader};
    let mut launcher = Program::new("/proc/self/exe")
        .arg(LAUNCHER)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(text)?;
    let mut line = String::new();
    let stdout = launcher.stdout.take().ok_or("no stdout")?;
    BufReader::new(stdout).read_line(&mut line).map_err(text)?;
    line.trim()
        .parse::<u32>()
        .map_err(|error| format!("expected a pid, got {line:?}: {error}"))?;
    let mine = Belongings::of(launcher.id());
    launcher.kill().map_err(text)?;
    launcher.wait().map_err(text)?;
    mine.must_be_gone()
}
