//! Which call of the kernel refused a namespace, and what a user can do about it.

use nix::errno::Errno;
use std::{fmt, io};

/// A step on the way to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The process already has several threads.
    SingleThread,
    /// `unshare(CLONE_NEWUSER)`.
    UnshareUser,
    /// Writing `uid_map`, `gid_map` or `setgroups`.
    MapIds,
    /// `unshare(CLONE_NEWPID)`.
    UnsharePid,
    /// `unshare(CLONE_NEWNET)`.
    UnshareNet,
    /// `fork`.
    Fork,
    /// `pipe`, `sigprocmask` or `signalfd` for the processes that watch over the lab's process.
    Signals,
    /// `socket(AF_PACKET)`.
    PacketSocket,
    /// Making a veth pair.
    Veth,
    /// Starting a thread.
    Thread,
    /// `setns`.
    SetNs,
    /// Opening `/proc/thread-self/ns/net`.
    OpenProc,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Call::SingleThread => "counting the threads of this process",
            Call::UnshareUser => "unshare(CLONE_NEWUSER)",
            Call::MapIds => "mapping user and group ids",
            Call::UnsharePid => "unshare(CLONE_NEWPID)",
            Call::UnshareNet => "unshare(CLONE_NEWNET)",
            Call::Fork => "fork",
            Call::Signals => "preparing signals",
            Call::PacketSocket => "socket(AF_PACKET)",
            Call::Veth => "making a veth pair",
            Call::Thread => "starting a thread",
            Call::SetNs => "setns(CLONE_NEWNET)",
            Call::OpenProc => "opening /proc/thread-self/ns/net",
        })
    }
}

/// Why the process cannot hold a lab.
#[derive(Debug, thiserror::Error)]
#[error("failed to create the lab's namespaces: {call}: {source}; {advice}")]
pub struct EnterError {
    /// What was refused.
    pub call: Call,
    /// The kernel's answer.
    pub source: io::Error,
    /// What to do next.
    pub advice: String,
}

impl EnterError {
    pub(super) fn new(call: Call, errno: Errno) -> Self {
        Self {
            call,
            source: errno.into(),
            advice: advice(call, errno),
        }
    }
}

/// Why a single namespace could not be made or entered.
#[derive(Debug, thiserror::Error)]
#[error("failed to use a network namespace: {call}")]
pub struct NamespaceError {
    /// What was refused.
    pub call: Call,
    /// The kernel's answer.
    pub source: io::Error,
}

impl NamespaceError {
    pub(super) fn new(call: Call, errno: Errno) -> Self {
        Self {
            call,
            source: errno.into(),
        }
    }
}

fn sysctl(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What to do about a refusal, read off this machine's settings; the most specific cause first.
fn advice(call: Call, errno: Errno) -> String {
    if call == Call::SingleThread {
        return "enter the namespaces before any thread is started".into();
    }
    if sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return "AppArmor restricts user namespaces here: run as root, or `sudo sysctl -w \
                kernel.apparmor_restrict_unprivileged_userns=0`, or give this program an AppArmor profile that \
                allows `userns`"
            .into();
    }
    if sysctl("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return "user namespaces are off for unprivileged users: run as root, or `sudo sysctl -w \
                kernel.unprivileged_userns_clone=1`"
            .into();
    }
    for (file, name) in [
        ("max_user_namespaces", "user"),
        ("max_net_namespaces", "network"),
        ("max_pid_namespaces", "PID"),
    ] {
        if sysctl(&format!("/proc/sys/user/{file}")) == Some(0) {
            return format!("no {name} namespaces are allowed here: `sudo sysctl -w user.{file}=15000`");
        }
    }
    match errno {
        Errno::ENOSPC | Errno::EUSERS => "the limit of namespaces is reached: raise `user.max_user_namespaces` and \
                                          `user.max_net_namespaces`, or end other programs that hold some"
            .into(),
        Errno::ENOSYS | Errno::EINVAL => {
            "this kernel was built without the namespaces the lab needs (USER_NS, NET_NS, PID_NS, VETH, PACKET)".into()
        }
        Errno::EPERM | Errno::EACCES => "inside a container, a seccomp profile or missing capability forbids it: run \
                                         the container with `--privileged`, or with `--security-opt \
                                         seccomp=unconfined --security-opt apparmor=unconfined --cap-add SYS_ADMIN \
                                         --cap-add NET_ADMIN --cap-add NET_RAW`"
            .into(),
        _ => "see user_namespaces(7)".into(),
    }
}
