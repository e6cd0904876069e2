//! The two processes that watch over the lab's process: the outer one, which the user started, and the PID namespace's
//! init.
//!
//! Outer forwards signals and takes over the exit status. Init reaps orphans. If outer dies, init is killed by the
//! kernel, and with init every process of the namespace; if the lab's process dies, init ends, and with it every pod.

use super::error::{Call, EnterError};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pipe},
};
use std::os::fd::{AsFd, OwnedFd};

const FORWARDED: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Forks twice and returns in the grandchild; the two others never return.
pub(super) fn fork_lab_process() -> Result<(), EnterError> {
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    for signal in FORWARDED {
        watched.add(signal);
    }
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched), Some(&mut before))
        .map_err(|errno| EnterError::new(Call::Signals, errno))?;
    let (outer_dead, outer_alive) = pipe().map_err(|errno| EnterError::new(Call::Signals, errno))?;

    // SAFETY: the process is single-threaded (checked by the caller), so the child may do anything.
    #[allow(unsafe_code)]
    let outer = unsafe { fork() }.map_err(|errno| EnterError::new(Call::Fork, errno))?;
    if let ForkResult::Parent { child } = outer {
        drop(outer_dead);
        let status = watch_over(child, &watched);
        drop(outer_alive);
        std::process::exit(status);
    }

    drop(outer_alive);
    // SIGKILL reaches an init only from outside its namespace, which is where outer dies.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || has_ended(&outer_dead) {
        exit_now(137);
    }
    // SAFETY: as above.
    #[allow(unsafe_code)]
    match unsafe { fork() } {
        Err(_) => exit_now(3),
        Ok(ForkResult::Parent { child }) => {
            let status = watch_over(child, &watched);
            exit_now(status)
        }
        Ok(ForkResult::Child) => {
            drop(outer_dead);
            // Init cannot be killed from inside its namespace, so the lab's process needs no death signal of its own.
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
                .map_err(|errno| EnterError::new(Call::Signals, errno))
        }
    }
}

/// Whether the other end of the pipe was closed.
fn has_ended(reader: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

pub(super) fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process without running the exit handlers that it shares with its parent.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(status)
    }
}

/// Forwards signals to `child` and reaps, until `child` ends; returns its exit status, or 128 and the signal's number.
fn watch_over(child: Pid, watched: &SigSet) -> i32 {
    let Ok(signals) = SignalFd::with_flags(watched, SfdFlags::SFD_CLOEXEC) else {
        return 3;
    };
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => return status,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => return 128 + signal as i32,
            Err(Errno::ECHILD) => return 3,
            Ok(WaitStatus::StillAlive) => {}
            Ok(_) | Err(_) => continue,
        }
        let Ok(Some(info)) = signals.read_signal() else {
            continue;
        };
        let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else {
            continue;
        };
        // What the terminal sends reaches the whole foreground group, the lab's process included: forward only what was
        // meant for this process alone.
        if signal != Signal::SIGCHLD && info.ssi_code <= 0 {
            let _ = kill(child, signal);
        }
    }
}
