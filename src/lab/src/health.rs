//! The HTTP endpoint by which a system container says that it is ready or healthy, for kubelets to probe.

use crate::system::SystemContainer;
use meshproof_datapath::netns::Namespace;
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// Longer request heads are not read.
const HEAD_LIMIT: usize = 8 << 10;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK";

/// Answers every request to this port of the container's pod with 200 until the container stops.
///
/// # Errors
/// When the port is taken.
pub(crate) fn ready_endpoint(container: &SystemContainer, port: u16) -> io::Result<()> {
    http_endpoint(&container.namespace, port, container.stop.clone())
}

/// Answers every request to this port with 200 until stopped.
///
/// # Errors
/// When the port is taken.
pub(crate) fn http_endpoint(namespace: &Namespace, port: u16, stop: CancellationToken) -> io::Result<()> {
    let listener = listen(namespace, port)?;
    tokio::spawn(async move {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            if let Ok((stream, _)) = accepted {
                let stop = stop.clone();
                tokio::spawn(async move { stop.run_until_cancelled(answer(stream)).await });
            }
        }
    });
    Ok(())
}

/// Accepts every connection to this port and says nothing, as a server of TLS to whom nobody speaks, until stopped.
///
/// # Errors
/// When the port is taken.
pub(crate) fn silent_endpoint(namespace: &Namespace, port: u16, stop: CancellationToken) -> io::Result<()> {
    let listener = listen(namespace, port)?;
    tokio::spawn(async move {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            if let Ok((mut stream, _)) = accepted {
                let stop = stop.clone();
                tokio::spawn(async move {
                    stop.run_until_cancelled(tokio::io::copy(&mut stream, &mut tokio::io::sink()))
                        .await
                });
            }
        }
    });
    Ok(())
}

fn listen(namespace: &Namespace, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let bound = namespace.within(|| {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok::<_, io::Error>(listener)
    });
    TcpListener::from_std(bound.map_err(io::Error::other)??)
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(OK).await?;
    stream.shutdown().await
}
