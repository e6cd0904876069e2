//! The operators' own way to cut off a node: commands of `meshproof.yaml`, run on this machine, without a shell.

use crate::config::NodePowerEntry;
use async_trait::async_trait;
use meshproof_cluster::{NodePower, Role};
use meshproof_contract::{ClusterName, NodeName};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;

/// How long a command may take: machines are slow to stop and slower to boot.
const DEADLINE: Duration = Duration::from_secs(300);

/// The commands, and the clusters that they may name.
pub struct NodePowerCommands {
    /// As in the file.
    pub commands: NodePowerEntry,
    /// For `{context}`.
    pub roles: Vec<Role>,
}

#[async_trait]
impl NodePower for NodePowerCommands {
    async fn cut(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String> {
        run(&self.words(&self.commands.cut, cluster, node)).await
    }

    async fn restore(&self, cluster: &ClusterName, node: &NodeName) -> Result<(), String> {
        run(&self.words(&self.commands.restore, cluster, node)).await
    }
}

impl NodePowerCommands {
    fn words(&self, command: &[String], cluster: &ClusterName, node: &NodeName) -> Vec<String> {
        let role = self.roles.iter().find(|role| &role.cluster == cluster);
        let context = role.map_or("", |role| role.context.as_str());
        let replaced = command.iter().map(|word| {
            word.replace("{cluster}", cluster.as_str())
                .replace("{context}", context)
                .replace("{node}", node.as_str())
        });
        replaced.collect()
    }
}

async fn run(words: &[String]) -> Result<(), String> {
    let line = words.join(" ");
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .map_err(|_| format!("`{line}` did not finish within {} s", DEADLINE.as_secs()))?
        .map_err(|error| format!("failed to start `{line}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(format!("`{line}` failed ({}): {last}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(cut: &[&str]) -> NodePowerCommands {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        NodePowerCommands {
            commands: NodePowerEntry {
                cut: words(cut),
                restore: words(&["true"]),
            },
            roles: vec![Role {
                cluster: "apps".into(),
                context: "apps-admin".to_owned(),
            }],
        }
    }

    #[test]
    fn placeholders_are_replaced_in_each_argument() {
        let commands = commands(&["x", "--context={context}", "{cluster}/{node}", "{other}"]);
        let words = commands.words(&commands.commands.cut, &"apps".into(), &"apps-2".into());
        assert_eq!(words, ["x", "--context=apps-admin", "apps/apps-2", "{other}"]);
    }

    #[tokio::test]
    async fn a_command_that_fails_is_an_error_with_its_last_line() {
        let (apps, node) = ("apps".into(), "apps-2".into());
        assert_eq!(commands(&["true"]).cut(&apps, &node).await, Ok(()));
        let failed = commands(&["sh", "-c", "echo no such machine $0 >&2; exit 3", "{node}"])
            .cut(&apps, &node)
            .await;
        let failed = failed.expect_err("exit code 3");
        assert!(
            failed.contains("no such machine apps-2") && failed.contains("exit status: 3"),
            "{failed}"
        );
        let absent = commands(&["no-such-program-here"])
            .cut(&apps, &node)
            .await
            .expect_err("no such program");
        assert!(absent.contains("failed to start `no-such-program-here`"), "{absent}");
    }
}
