//! Starts the agent as a process: this very executable, in a pod's network namespace, with a mount and a host name of
//! its own, so that `/etc/resolv.conf`, `/etc/hosts` and the host name are the pod's. Nothing is written to a disk.

use meshproof_datapath::{SocketBalancer, netns::Namespace};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::{sethostname, write},
};
use std::{io, process::Stdio};
use tokio::process::{Child, Command};

/// Where the files are made before they are put in place; every system has it.
const STAGE: &str = "/tmp";
/// The executable is this one, even if its file was replaced meanwhile.
const EXECUTABLE: &str = "/proc/self/exe";
/// The hidden subcommand of the executable that embeds the lab.
const SUBCOMMAND: &str = "agent";
const NO_FLAGS: MsFlags = MsFlags::empty();

/// How to start a process in a container.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSpec {
    pub(super) namespace: Namespace,
    /// The node's socket load balancing, if it has any.
    pub(super) sockets: Option<SocketBalancer>,
    pub(super) title: String,
    pub(super) hostname: String,
    pub(super) environment: Vec<(String, String)>,
    pub(super) resolv_conf: String,
    pub(super) hosts: String,
}

/// Where a process's streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// stdout and stderr are the container's log.
    Log,
    /// All three belong to a client.
    Exec,
}

impl ProcessSpec {
    /// Starts the agent with these arguments. Must be called inside a runtime, which reaps it.
    pub(super) fn start(&self, arguments: &[String], streams: Streams) -> io::Result<Child> {
        let mut command = Command::new(EXECUTABLE);
        command.arg0(&self.title).arg(SUBCOMMAND).args(arguments);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir("/").kill_on_drop(true).process_group(0);
        command.stdin(match streams {
            Streams::Log => Stdio::null(),
            Streams::Exec => Stdio::piped(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let files = Files {
            resolv_conf: self.resolv_conf.clone(),
            hosts: self.hosts.clone(),
        };
        let hostname = self.hostname.clone();
        // SAFETY: between fork and exec the closure makes system calls on data prepared before, and allocates nothing:
        // every path is short enough for nix to terminate it on the stack.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || furnish(&files, &hostname).map_err(io::Error::from));
        }
        match &self.sockets {
            Some(sockets) => sockets.spawn_tokio(&self.namespace, command),
            None => self.namespace.spawn_tokio(command),
        }
    }
}

struct Files {
    resolv_conf: String,
    hosts: String,
}

/// Gives the calling process a mount and a UTS namespace and puts the files in place.
fn furnish(files: &Files, hostname: &str) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
    sethostname(hostname)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), STAGE, Some("tmpfs"), NO_FLAGS, Some("size=64k,mode=755"))?;
    put("/tmp/resolv.conf", &files.resolv_conf)?;
    put("/tmp/hosts", &files.hosts)?;
    let bound = bind("/tmp/resolv.conf", "/etc/resolv.conf").and_then(|()| bind("/tmp/hosts", "/etc/hosts"));
    match bound {
        Ok(()) => {}
        // No such file to bind over (a minimal image): an `/etc` with nothing else in it will do for the agent.
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            mount(
                Some("tmpfs"),
                "/etc",
                Some("tmpfs"),
                NO_FLAGS,
                Some("size=64k,mode=755"),
            )?;
            put("/etc/resolv.conf", &files.resolv_conf)?;
            put("/etc/hosts", &files.hosts)?;
        }
        Err(error) => return Err(error),
    }
    umount2(STAGE, MntFlags::MNT_DETACH)
}

fn put(path: &str, content: &str) -> Result<(), Errno> {
    let file = open(
        path,
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC,
        Mode::from_bits_truncate(0o644),
    )?;
    let mut rest = content.as_bytes();
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

fn bind(from: &str, to: &str) -> Result<(), Errno> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}
