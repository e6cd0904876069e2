//! The data path with real namespaces, devices and packets. Its own `main`, because a process can enter a user
//! namespace only before it has threads.

mod capture;
mod connectivity;
mod faults;
mod fixture;
mod mtu;
mod namespaces;
mod policy;
mod probe;
mod service;
mod sockets;
mod tunnel;
mod victim;

use libtest_mimic::{Arguments, Trial};
use meshproof_datapath::netns::{self, Isolation};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(call) = sockets::requested() {
        return sockets::call(call);
    }
    if let Some(end) = victim::requested() {
        return victim::run(end);
    }
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(false)).exit_code();
    }
    match netns::enter(Isolation::Auto) {
        Ok(()) => libtest_mimic::run(&arguments, trials(false)).exit_code(),
        Err(error) if std::env::var_os("MESHPROOF_REQUIRE_LAB").is_some_and(|value| value == "1") => {
            eprintln!("MESHPROOF_REQUIRE_LAB=1, but {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("every test here is ignored: {error}");
            libtest_mimic::run(&arguments, trials(true)).exit_code()
        }
    }
}

fn trials(ignored: bool) -> Vec<Trial> {
    let cases = [
        connectivity::CASES,
        service::CASES,
        sockets::CASES,
        mtu::CASES,
        tunnel::CASES,
        policy::CASES,
        faults::CASES,
        namespaces::CASES,
        victim::CASES,
    ];
    let trial = |(name, case): &(&'static str, fn())| {
        let case = *case;
        Trial::test(*name, move || {
            case();
            Ok(())
        })
        .with_ignored_flag(ignored)
    };
    cases.into_iter().flatten().map(trial).collect()
}
