//! Network namespaces without names: held by descriptors only, so that nothing stays behind when the process dies.
//!
//! The process as a whole enters a user and a PID namespace once ([`enter()`]), while it is still single-threaded; its
//! network namespace stays the original one. Each [`Namespace`] is made by a thread of its own.

mod enter;
mod error;
mod init;
mod spawner;

use nix::sched::{CloneFlags, setns, unshare};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, Command},
    sync::Arc,
    thread::JoinHandle,
};

pub use enter::{Isolation, enter, probe};
pub use error::{Call, EnterError, NamespaceError};

/// A network namespace, alive as long as a clone of this, a process or a socket in it lives.
#[derive(Clone, Debug)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
}

impl Namespace {
    /// A new, empty namespace with loopback down.
    ///
    /// # Errors
    /// When the process may not make one: call [`enter()`] first.
    pub fn new() -> Result<Self, NamespaceError> {
        let made = std::thread::Builder::new()
            .name("netns".into())
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NamespaceError::new(Call::UnshareNet, errno))?;
                Self::current()
            })
            .map_err(|source| NamespaceError {
                call: Call::Thread,
                source,
            })?;
        made.join().expect("making a namespace does not panic")
    }

    /// The calling thread's namespace.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn current() -> Result<Self, NamespaceError> {
        let file = File::open("/proc/thread-self/ns/net").map_err(|source| NamespaceError {
            call: Call::OpenProc,
            source,
        })?;
        Ok(Self {
            fd: Arc::new(file.into()),
        })
    }

    /// Runs a closure inside and waits for it: for making sockets that live in the namespace and are used outside.
    ///
    /// # Errors
    /// When the thread cannot be started or cannot enter.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    self.enter_thread()?;
                    Ok(work())
                })
                .map_err(|source| NamespaceError {
                    call: Call::Thread,
                    source,
                })?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a closure on a thread inside, without waiting for it: for in-process servers with a runtime of their own.
    ///
    /// # Errors
    /// When the thread cannot be started. The closure is not run if the thread cannot enter; the join then says why.
    pub fn run<T: Send + 'static>(
        &self,
        thread_name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T, NamespaceError>>, NamespaceError> {
        let namespace = self.clone();
        std::thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                namespace.enter_thread()?;
                Ok(work())
            })
            .map_err(|source| NamespaceError {
                call: Call::Thread,
                source,
            })
    }

    /// Starts a process inside. It is killed when this process dies. Blocks for the moment that a fork takes.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        spawner::spawn(self.clone(), command)
    }

    /// As [`spawn`](Self::spawn), for tokio: call it inside a runtime, which then reaps the child.
    ///
    /// # Errors
    /// As [`tokio::process::Command::spawn`].
    pub fn spawn_tokio(&self, command: tokio::process::Command) -> io::Result<tokio::process::Child> {
        spawner::spawn_tokio(self.clone(), command)
    }

    /// Moves the calling thread inside, for good.
    pub(crate) fn enter_thread(&self) -> Result<(), NamespaceError> {
        setns(self.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| NamespaceError::new(Call::SetNs, errno))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
