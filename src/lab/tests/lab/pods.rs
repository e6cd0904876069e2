//! Pods of a lab: started, restarted, replaced, refused, spoken to.

use crate::{
    client::{
        Result, SHORT, Test, address, all_connected, block_on, client, converse, deploy_agents, end_lab, eventually,
        is_ready, name, reach, ready_pods, start_lab, text,
    },
    remains::Belongings,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, DeleteParams, LogParams, PostParams};
use meshproof_wire::{Answer, Command};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::time::{Duration, Instant};

pub const ALL: &[(&str, Test)] = &[
    (
        "agents_get_ready_and_reach_each_other",
        agents_get_ready_and_reach_each_other,
    ),
    (
        "a_killed_agent_is_restarted_and_a_deleted_pod_replaced",
        a_killed_agent_is_restarted,
    ),
    ("an_unknown_image_cannot_be_pulled", an_unknown_image_cannot_be_pulled),
    ("exec_and_logs_work", exec_and_logs_work),
];

fn agents_get_ready_and_reach_each_other() -> Result<()> {
    block_on(SHORT, async {
        let begun = Instant::now();
        let lab = start_lab().await?;
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
        end_lab(lab).await
    })
}

fn a_killed_agent_is_restarted() -> Result<()> {
    block_on(SHORT, async {
        let lab = start_lab().await?;
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
        end_lab(lab).await
    })
}

fn an_unknown_image_cannot_be_pulled() -> Result<()> {
    block_on(SHORT, async {
        let lab = start_lab().await?;
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
        end_lab(lab).await
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
    block_on(SHORT, async {
        let lab = start_lab().await?;
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
            return Err(format!("a missing command should end with 127, got {status:?}"));
        }
        let log = within("logs", api.logs(pod, &LogParams::default())).await?;
        if !log.contains("serves as infra/") {
            return Err(format!("the log should have the agent's first line, it is {log:?}"));
        }
        end_lab(lab).await
    })
}

async fn speak_over_exec(api: &Api<Pod>, pod: &str) -> Result<()> {
    let attach = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process = within("exec control", api.exec(pod, ["meshproof-agent", "control"], &attach)).await?;
    let (stdin, stdout) = (process.stdin().ok_or("no stdin")?, process.stdout().ok_or("no stdout")?);
    let mut stream = tokio::io::join(stdout, stdin);
    let (hello, answer) = within("control over exec", converse(&mut stream, Command::Ping)).await?;
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
