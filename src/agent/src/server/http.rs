//! The HTTP server: every answer carries the agent's identity and the client's address as seen.
//!
//! `/readyz` answers the kubelet, `/echo` sends a POSTed body back, `/status/<code>` answers with that code; any other
//! path, by any method, answers 200 with the identity, so that a policy's paths and methods can be tried freely.

use super::{Acceptor, CONNECTIONS, IDLE, Shared};
use crate::identity;
use bytes::Bytes;
use http_body_util::{Either, Empty, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use meshproof_contract::probe::MAX_PAYLOAD;
use serde::Serialize;
use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};
use tokio::net::TcpListener;

type Answer = Response<Either<Either<Full<Bytes>, Empty<Bytes>>, Limited<Incoming>>>;

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let acceptor = Acceptor::new(listener, CONNECTIONS);
    loop {
        let (stream, peer, permit) = acceptor.accept().await;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request.method().clone(), request, &shared, peer.ip());
                async move { Ok::<_, Infallible>(answer) }
            });
            // Garbage, resets and silence end the connection, which is all that is to be done about them.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

fn answer(method: &Method, request: Request<Incoming>, shared: &Shared, source: IpAddr) -> Answer {
    let path = request.uri().path();
    let mut answer = if path == "/readyz" {
        let code = if shared.ready.load(Ordering::Relaxed) {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        empty(code)
    } else if path == "/echo" {
        echo(method, request)
    } else if let Some(code) = path.strip_prefix("/status/") {
        match code.parse::<u16>() {
            Ok(code @ 200..600) => empty(StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)),
            _ => empty(StatusCode::BAD_REQUEST),
        }
    } else {
        whoami(shared, source)
    };
    identity::to_headers(&shared.settings.identity, source, answer.headers_mut());
    answer
}

fn empty(code: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Either::Right(Empty::new())));
    *answer.status_mut() = code;
    answer
}

fn echo(method: &Method, request: Request<Incoming>) -> Answer {
    if method != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let limit = u64::from(MAX_PAYLOAD);
    if request.body().size_hint().lower() > limit {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    }
    // Streamed, so that an echo of a mebibyte takes a buffer's memory; a longer body is cut off.
    Response::new(Either::Right(Limited::new(request.into_body(), MAX_PAYLOAD as usize)))
}

fn whoami(shared: &Shared, source: IpAddr) -> Answer {
    #[derive(Serialize)]
    struct WhoAmI<'a> {
        #[serde(flatten)]
        identity: &'a meshproof_contract::Identity,
        source: IpAddr,
    }
    let body = serde_json::to_vec(&WhoAmI {
        identity: &shared.settings.identity,
        source,
    });
    let mut answer = Response::new(Either::Left(Either::Left(Full::new(body.unwrap_or_default().into()))));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
