//! The servers: the first messages of PostgreSQL's and of Redis's protocol, and HTTP with and without TLS.

use super::certificate::Certificates;
use crate::{fault::Fault, state::LabState, system::SystemContainer};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

pub(super) const POSTGRES: u16 = 5432;
pub(super) const REDIS: u16 = 6379;
pub(super) const HTTP: u16 = 8080;
pub(super) const HTTPS: u16 = 8443;
/// The ports with their names.
pub(super) const PORTS: [(&str, u16); 4] = [
    ("postgres", POSTGRES),
    ("redis", REDIS),
    ("http", HTTP),
    ("https", HTTPS),
];

/// Longer request heads are not read.
const HEAD_LIMIT: usize = 8 << 10;
/// PostgreSQL's requests before a startup message, and longer ones, are not read.
const STARTUP_LIMIT: usize = 8 << 10;
const SSL_REQUEST: [u8; 4] = [0x04, 0xd2, 0x16, 0x2f];
/// AuthenticationSASL with SCRAM-SHA-256.
const SASL: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

#[derive(Clone)]
struct Server {
    lab: Arc<LabState>,
    certificates: Arc<Certificates>,
}

/// Listens on all ports until the container stops.
pub(super) fn start(container: &SystemContainer, certificates: &Arc<Certificates>) -> io::Result<()> {
    for (_, port) in PORTS {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let bound = container.namespace.within(|| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        });
        let listener = TcpListener::from_std(bound.map_err(io::Error::other)??)?;
        let server = Server {
            lab: Arc::clone(&container.lab),
            certificates: Arc::clone(certificates),
        };
        let stop = container.stop.clone();
        tokio::spawn(async move {
            while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
                let Ok((stream, _)) = accepted else {
                    continue;
                };
                let (server, stop) = (server.clone(), stop.clone());
                // Clients that break off end their connection only.
                tokio::spawn(async move { stop.run_until_cancelled(server.serve(port, stream)).await });
            }
        });
    }
    Ok(())
}

impl Server {
    async fn serve(&self, port: u16, mut stream: tokio::net::TcpStream) -> io::Result<()> {
        match port {
            POSTGRES => postgres(&mut stream).await,
            REDIS => redis(&mut stream).await,
            HTTPS => {
                let config = if self.lab.faults.is_active(Fault::FlowCertificateExpired) {
                    &self.certificates.expired
                } else {
                    &self.certificates.valid
                };
                let mut stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
                self.http(&mut stream).await
            }
            _ => self.http(&mut stream).await,
        }
    }

    async fn http(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        sleep(self.delay()).await;
        let status = if self.lab.faults.is_active(Fault::FlowWrongStatus) {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        let body = "the portal\n";
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nX-Portal: 2.3.0\r\nContent-Length: {}\r\nConnection: \
             close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }

    fn delay(&self) -> Duration {
        match self.lab.faults.is_active(Fault::FlowServerSlow) {
            true => self.lab.faults.time(Fault::FlowServerSlow),
            false => Duration::ZERO,
        }
    }
}

async fn postgres(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    loop {
        let length = stream.read_u32().await? as usize;
        if !(8..=STARTUP_LIMIT).contains(&length) {
            return Ok(());
        }
        let mut message = vec![0; length - 4];
        stream.read_exact(&mut message).await?;
        if message.starts_with(&SSL_REQUEST) {
            stream.write_all(b"N").await?;
            continue;
        }
        stream.write_all(SASL).await?;
        // Until the client gives up.
        let _ = stream.read_u8().await;
        return Ok(());
    }
}

async fn redis(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut request = Vec::new();
    while stream.read_buf(&mut request).await? > 0 {
        if request.windows(4).any(|word| word.eq_ignore_ascii_case(b"PING")) {
            request.clear();
            stream.write_all(b"-NOAUTH Authentication required.\r\n").await?;
        }
    }
    Ok(())
}
