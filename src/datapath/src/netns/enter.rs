//! Moving the whole process into a user and a PID namespace, once, before it has threads.

use super::{
    error::{Call, EnterError},
    init,
};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{AddressFamily, SockFlag, SockType, socket},
        wait::waitpid,
    },
    unistd::{ForkResult, fork, getegid, geteuid, pipe},
};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
};

/// How the process is set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// In a user namespace unless the process may make network namespaces as it is (root).
    Auto,
    /// In a user namespace, even as root.
    UserNamespace,
}

/// Whether [`enter`] would succeed, found out in a child process that tries.
///
/// # Errors
/// What was refused and what to do about it.
pub fn probe(isolation: Isolation) -> Result<(), EnterError> {
    let (reader, writer) = pipe().map_err(|errno| EnterError::new(Call::Signals, errno))?;
    let ids = IdMaps::of_this_process();
    // SAFETY: the child makes system calls on data prepared before the fork, allocates nothing and ends with _exit.
    #[allow(unsafe_code)]
    match unsafe { fork() }.map_err(|errno| EnterError::new(Call::Fork, errno))? {
        ForkResult::Child => {
            let report = match try_in_child(isolation, &ids) {
                Ok(()) => [0; 5],
                Err((call, errno)) => {
                    let mut report = [call as u8 + 1; 5];
                    report[1..].copy_from_slice(&(errno as i32).to_ne_bytes());
                    report
                }
            };
            let written = nix::unistd::write(&writer, &report);
            init::exit_now(i32::from(written.is_err()))
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut report = Vec::new();
            let read = File::from(reader).read_to_end(&mut report);
            while waitpid(child, None) == Err(Errno::EINTR) {}
            match (read, report.as_slice()) {
                (Ok(_), [0, ..]) => Ok(()),
                (Ok(_), [call, errno @ ..]) if errno.len() == 4 => {
                    let errno = i32::from_ne_bytes([errno[0], errno[1], errno[2], errno[3]]);
                    Err(EnterError::new(call_of(*call), Errno::from_raw(errno)))
                }
                _ => Err(EnterError::new(Call::Fork, Errno::ECHILD)),
            }
        }
    }
}

fn call_of(report: u8) -> Call {
    [
        Call::UnshareUser,
        Call::MapIds,
        Call::UnsharePid,
        Call::UnshareNet,
        Call::PacketSocket,
    ]
    .into_iter()
    .find(|call| *call as u8 + 1 == report)
    .unwrap_or(Call::Fork)
}

fn try_in_child(isolation: Isolation, ids: &IdMaps) -> Result<(), (Call, Errno)> {
    let pid = match isolation {
        Isolation::Auto if unshare(CloneFlags::CLONE_NEWNET).is_ok() => unshare(CloneFlags::CLONE_NEWPID),
        _ => {
            unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| (Call::UnshareUser, errno))?;
            ids.write().map_err(|errno| (Call::MapIds, errno))?;
            unshare(CloneFlags::CLONE_NEWPID)
        }
    };
    pid.map_err(|errno| (Call::UnsharePid, errno))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| (Call::UnshareNet, errno))?;
    let _socket: OwnedFd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| (Call::PacketSocket, errno))?;
    Ok(())
}

/// Moves this process into a PID namespace, and into a user namespace where needed, so that it may make network
/// namespaces and so that everything it starts ends with it, even by `kill -9`.
///
/// The limit of open files is raised to what is allowed. Returns in the process that is to go on, a grandchild of the
/// caller's: the caller's process stays outside, forwards signals and ends with the grandchild's exit status; between
/// them the PID namespace's init reaps orphans.
///
/// # Errors
/// What was refused and what to do about it. After an error of [`Call::UnshareUser`] or before, and after a failed
/// probe, the process is unchanged.
pub fn enter(isolation: Isolation) -> Result<(), EnterError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(EnterError::new(Call::SingleThread, Errno::EINVAL));
    }
    probe(isolation)?;
    let privileged = isolation == Isolation::Auto && may_make_namespaces();
    if !privileged {
        let ids = IdMaps::of_this_process();
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| EnterError::new(Call::UnshareUser, errno))?;
        ids.write().map_err(|errno| EnterError::new(Call::MapIds, errno))?;
    }
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| EnterError::new(Call::UnsharePid, errno))?;
    raise_descriptor_limit();
    init::fork_lab_process()
}

/// A lab holds a few descriptors for every pod, and the usual soft limit of 1,024 is soon reached.
fn raise_descriptor_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "limit of open files left as it is");
    }
}

/// Whether this process may make network namespaces as it is; a thread tries.
fn may_make_namespaces() -> bool {
    geteuid().is_root() && super::Namespace::new().is_ok()
}

/// Maps the caller to root inside: the content of the three files, prepared before a fork.
struct IdMaps {
    uid: String,
    gid: String,
}

impl IdMaps {
    fn of_this_process() -> Self {
        Self {
            uid: format!("0 {} 1", geteuid()),
            gid: format!("0 {} 1", getegid()),
        }
    }

    fn write(&self) -> Result<(), Errno> {
        // A user without CAP_SETGID outside may map a group only after giving up setgroups (user_namespaces(7)).
        for (path, content) in [
            ("/proc/self/setgroups", "deny"),
            ("/proc/self/uid_map", &self.uid),
            ("/proc/self/gid_map", &self.gid),
        ] {
            File::options()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(content.as_bytes()))
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        }
        Ok(())
    }
}
