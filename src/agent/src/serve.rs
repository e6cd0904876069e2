//! The agent as a process: its runtime, its servers, its signals.

use crate::{
    capture::Captures,
    descriptors,
    prober::Prober,
    resolver::Resolver,
    server::{self, Shared, control, http, tcp, udp},
    settings::Settings,
    stream::Streams,
};
use meshproof_contract::port;
use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, atomic::AtomicBool},
};
use tokio::signal::unix::{SignalKind, signal};

/// Why an agent cannot serve.
#[derive(Debug)]
pub(crate) struct ServeError {
    doing: String,
    source: io::Error,
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to {}: {}", self.doing, self.source)
    }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ServeError {
    let doing = doing.into();
    |source| ServeError { doing, source }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(settings: Settings) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("start the runtime"))?;
    let result = runtime.block_on(serve(settings));
    // Nothing is worth waiting for.
    runtime.shutdown_background();
    result
}

async fn serve(settings: Settings) -> Result<(), ServeError> {
    // First of all: the first process of a container is killed by no signal that it does not handle.
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("handle SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("handle SIGINT"))?;

    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let own_pod = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listen = |address, number: u16| {
        let number = settings.port(number);
        server::listen(address, number).map_err(failed(format!("listen on {address}:{number}")))
    };
    let control_port = listen(own_pod, port::CONTROL)?;
    let tcp_port = listen(everywhere, port::TCP)?;
    let http_port = listen(everywhere, port::HTTP)?;
    let udp_number = settings.port(port::UDP);
    let udp_port = udp::bind(everywhere, udp_number)
        .await
        .map_err(failed(format!("bind UDP port {udp_number}")))?;

    let resolver = Resolver {
        resolv_conf: settings.resolv_conf.clone(),
        hosts: settings.hosts.clone(),
    };
    let prober = Arc::new(Prober::new(resolver, descriptors::raise_limit()));
    let greeting = format!(
        "meshproof-agent {} serves as {} with ports {} to {}",
        env!("CARGO_PKG_VERSION"),
        settings.identity,
        settings.port(port::CONTROL),
        settings.port(port::UDP),
    );
    let shared = Arc::new(Shared {
        settings,
        ready: AtomicBool::new(true),
    });
    tokio::spawn(tcp::serve(tcp_port, Arc::clone(&shared)));
    tokio::spawn(udp::serve(udp_port, Arc::clone(&shared)));
    tokio::spawn(http::serve(http_port, Arc::clone(&shared)));
    let duties = control::Duties {
        shared,
        prober,
        streams: Streams::default(),
        captures: Captures::default(),
    };
    tokio::spawn(control::serve(control_port, duties));
    // For the pod's log; nobody has to read it.
    let _ = writeln!(io::stdout(), "{greeting}");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
