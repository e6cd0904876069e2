//! The HTTP proxy: every request is held against the rules; what none allows is answered with 403, as Envoy does.

use super::{Gate, Handed};
use crate::enforcement::layer7;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::SendRequest,
    header::{CONTENT_TYPE, HOST, HeaderValue, SERVER},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use meshproof_datapath::Protocol;
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::Mutex};

/// `proxy-connect-timeout` of Cilium.
const CONNECT: Duration = Duration::from_secs(2);

type Body = BoxBody<Bytes, hyper::Error>;

pub(super) async fn run(gate: Gate) -> io::Result<()> {
    let listener = gate.listen()?;
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            continue;
        };
        let gate = gate.clone();
        tokio::spawn(async move {
            if let Some(handed) = gate.handed(client, Protocol::Tcp).await {
                serve(gate, handed, stream).await;
            }
        });
    }
}

async fn serve(gate: Gate, handed: Handed, stream: TcpStream) {
    let session = Arc::new(Session {
        gate,
        handed,
        upstream: Mutex::default(),
    });
    let service = service_fn(move |request| {
        let session = Arc::clone(&session);
        async move { Ok::<_, Infallible>(session.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a proxied connection ended");
    }
}

/// One client's connection, and the one to its server.
struct Session {
    gate: Gate,
    handed: Handed,
    upstream: Mutex<Option<SendRequest<Incoming>>>,
}

impl Session {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if !self.may_pass(&request) {
            return answer(StatusCode::FORBIDDEN, "Access denied\r\n");
        }
        match tokio::time::timeout(CONNECT, self.connected()).await {
            Ok(Ok(())) => {}
            _ => return unavailable(),
        }
        let mut upstream = self.upstream.lock().await;
        let Some(sender) = upstream.as_mut() else {
            return unavailable();
        };
        match sender.send_request(request).await {
            Ok(mut response) => {
                response.headers_mut().insert(SERVER, HeaderValue::from_static("envoy"));
                response.map(BodyExt::boxed)
            }
            Err(_) => {
                *upstream = None;
                unavailable()
            }
        }
    }

    async fn connected(&self) -> io::Result<()> {
        let mut upstream = self.upstream.lock().await;
        if let Some(sender) = upstream.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok(());
        }
        let stream = self.gate.connect(&self.handed).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        *upstream = Some(sender);
        Ok(())
    }

    fn may_pass(&self, request: &Request<Incoming>) -> bool {
        let header = |name: &str| {
            let values = request.headers().get_all(name).iter();
            values
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect()
        };
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let seen = layer7::Request {
            method: request.method().as_str(),
            path: request.uri().path_and_query().map_or("/", |path| path.as_str()),
            host,
            header: &header,
        };
        self.gate.decide(&self.handed).admits_request(&seen)
    }
}

fn unavailable() -> Response<Body> {
    answer(
        StatusCode::SERVICE_UNAVAILABLE,
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    )
}

fn answer(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|never| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("envoy"));
    response
}
