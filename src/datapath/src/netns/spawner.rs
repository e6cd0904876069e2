//! Starts processes inside namespaces from one thread that lives as long as the process.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, so children must not be forked by a thread that comes
//! and goes.

use super::Namespace;
use nix::{
    sched::{CloneFlags, setns},
    sys::{prctl, signal::Signal},
};
use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
};

type Job = Box<dyn FnOnce() + Send>;

fn jobs() -> &'static Sender<Job> {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    JOBS.get_or_init(|| {
        let (sender, receiver) = channel::<Job>();
        let thread = std::thread::Builder::new().name("spawner".into()).spawn(move || {
            for job in receiver {
                job();
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "failed to start the thread that starts pods");
        }
        sender
    })
}

fn on_spawner<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = channel();
    let job: Job = Box::new(move || {
        let _ = sender.send(work());
    });
    jobs()
        .send(job)
        .map_err(|_| io::Error::other("the thread that starts pods has ended"))?;
    receiver
        .recv()
        .map_err(|_| io::Error::other("the thread that starts pods has ended"))?
}

/// Makes the command enter the namespace and die with this process.
fn prepare(namespace: Namespace, command: &mut Command) {
    let enter = move || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(enter);
    }
}

pub(super) fn spawn(namespace: Namespace, mut command: Command) -> io::Result<Child> {
    prepare(namespace, &mut command);
    on_spawner(move || command.spawn())
}

pub(super) fn spawn_tokio(
    namespace: Namespace,
    mut command: tokio::process::Command,
) -> io::Result<tokio::process::Child> {
    let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    prepare(namespace, command.as_std_mut());
    on_spawner(move || {
        let _entered = runtime.enter();
        command.spawn()
    })
}
