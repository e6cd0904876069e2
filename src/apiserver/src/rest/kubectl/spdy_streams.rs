//! Exec and port-forward on the streams of a SPDY connection, be it the upgraded connection itself (`Upgrade:
//! SPDY/3.1`, what client-go's SPDY executor and dialer speak) or one tunnelled through a WebSocket (kubectl since
//! 1.31).

use super::spdy::{self, Output, Stream};
use crate::{
    error::ApiError,
    object::Object,
    rest::{
        call::{Api, Call},
        websocket::farewell,
    },
    streams::{Duplex, Exec},
};
use axum::{
    extract::ws::{Message, WebSocket},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt, stream::FuturesUnordered};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};

/// Bytes that a pipe holds before its writer waits.
const PIPE: usize = 64 * 1024;
/// Streams that wait to be taken.
const OPENED: usize = 8;
/// How long a client may take to open the streams that it announced.
const OPENING: std::time::Duration = std::time::Duration::from_secs(30);

/// True when the request asks for a SPDY connection rather than a WebSocket.
pub(in crate::rest) fn is_wanted(call: &Call) -> bool {
    let header = call
        .request
        .headers()
        .get(axum::http::header::UPGRADE)
        .and_then(|h| h.to_str().ok());
    header.is_some_and(|header| header.eq_ignore_ascii_case("SPDY/3.1"))
}

/// Answers 101 and hands the connection to `serve`. 403 when the client does not speak `protocol`.
pub(in crate::rest) fn upgrade<F>(
    call: &mut Call,
    protocol: &'static str,
    serve: impl FnOnce(Duplex) -> F + Send + 'static,
) -> Result<Response, ApiError>
where
    F: Future<Output = ()> + Send,
{
    const PROTOCOL: &str = "x-stream-protocol-version";
    let mut request = std::mem::take(&mut call.request);
    let offered = request
        .headers()
        .get_all(PROTOCOL)
        .iter()
        .filter_map(|h| h.to_str().ok());
    let mut offered = offered.flat_map(|list| list.split(',')).map(str::trim);
    if !offered.any(|name| name == protocol) {
        let message = format!("unable to upgrade: unable to negotiate protocol: server supports [{protocol}]");
        return Err(ApiError::new(crate::error::Reason::Forbidden, message));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let stop = call.api.stop.clone();
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        tokio::select! {
            () = serve(Box::pin(TokioIo::new(upgraded))) => {}
            () = stop.cancelled() => {}
        }
    });
    let response = Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .header(PROTOCOL, protocol)
        .body(axum::body::Body::new(
            http_body_util::Empty::new().map_err(|never| match never {}),
        ));
    response.map_err(ApiError::internal)
}

/// The bytes inside the messages of a WebSocket, as a connection for `serve`.
pub(in crate::rest) async fn tunnel<F: Future<Output = ()>>(socket: WebSocket, serve: impl FnOnce(Duplex) -> F) {
    let (here, there) = tokio::io::duplex(PIPE);
    let (mut reader, mut writer) = tokio::io::split(here);
    let (mut sink, mut source) = socket.split();
    let inward = async {
        while let Some(Ok(message)) = source.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => continue,
            };
            if writer.write_all(&data).await.is_err() {
                break;
            }
        }
    };
    let outward = async {
        let mut chunk = BytesMut::with_capacity(PIPE);
        while matches!(reader.read_buf(&mut chunk).await, Ok(read) if read > 0) {
            if sink.send(Message::Binary(chunk.split().freeze())).await.is_err() {
                return;
            }
            chunk.reserve(PIPE);
        }
        let _ = sink.send(farewell()).await;
    };
    let served = async {
        tokio::join!(serve(Box::pin(there)), outward);
    };
    tokio::select! {
        () = inward => {}
        () = served => {}
    }
}

/// Port-forward: for every connection of the client an error stream and a data stream with the same `requestid`.
pub(in crate::rest) async fn forward(io: Duplex, api: &Api, pod: &Object) {
    let (opened, mut streams) = mpsc::channel(OPENED);
    let mut errors: HashMap<String, Stream> = HashMap::new();
    let mut connections = FuturesUnordered::new();
    let session = spdy::serve(io, opened);
    tokio::pin!(session);
    loop {
        tokio::select! {
            () = session.as_mut() => return,
            Some(()) = connections.next() => {}
            Some(stream) = streams.recv() => {
                let request = stream.header("requestid").to_owned();
                if stream.header("streamtype") == "error" {
                    errors.insert(request, stream);
                } else if let Some(error) = errors.remove(&request) {
                    connections.push(connect(api, pod, stream, error.output));
                }
            }
        }
    }
}

async fn connect(api: &Api, pod: &Object, stream: Stream, errors: Output) {
    let port = stream.header("port").to_owned();
    let Stream { mut input, output, .. } = stream;
    let connected = match port.parse::<u16>() {
        Ok(number) => api.streams.port_forward(pod, number).await,
        Err(_) => Err(ApiError::bad_request("not a port number")),
    };
    match connected {
        Ok(connection) => {
            let (mut reader, mut writer) = tokio::io::split(connection);
            let to_pod = async {
                while let Some(data) = input.recv().await {
                    if writer.write_all(&data).await.is_err() {
                        return;
                    }
                }
                let _ = writer.shutdown().await;
            };
            let to_client = copy_out(&mut reader, &output);
            tokio::pin!(to_pod);
            tokio::select! {
                () = to_client => {}
                () = async { to_pod.as_mut().await; std::future::pending().await } => {}
            }
        }
        Err(error) => {
            let message = format!("error forwarding port {port} to pod {}, uid : {error}", pod.name());
            let _ = errors.send(Bytes::from(message)).await;
        }
    }
    output.finish().await;
    errors.finish().await;
}

async fn copy_out(reader: &mut (impl tokio::io::AsyncRead + Unpin), output: &Output) {
    let mut chunk = BytesMut::with_capacity(PIPE);
    while matches!(reader.read_buf(&mut chunk).await, Ok(read) if read > 0) {
        if output.send(chunk.split().freeze()).await.is_err() {
            return;
        }
        chunk.reserve(PIPE);
    }
}

/// Exec: one stream for each of error, stdin, stdout and stderr that was asked for (`v4.channel.k8s.io`).
pub(in crate::rest) async fn exec(
    io: Duplex,
    api: &Api,
    exec: Exec,
    stdin: Option<DuplexStream>,
    outputs: [(&'static str, Option<DuplexStream>); 2],
) {
    let (opened, mut streams) = mpsc::channel(OPENED);
    let session = spdy::serve(io, opened);
    let work = async {
        let mut wanted = vec!["error"];
        wanted.extend(stdin.is_some().then_some("stdin"));
        wanted.extend(outputs.iter().filter(|(_, pipe)| pipe.is_some()).map(|(kind, _)| *kind));
        let mut found: HashMap<String, Stream> = HashMap::new();
        let all = tokio::time::timeout(OPENING, async {
            while wanted.iter().any(|kind| !found.contains_key(*kind)) {
                let Some(stream) = streams.recv().await else { return };
                found.insert(stream.header("streamtype").to_owned(), stream);
            }
        });
        let (Ok(()), Some(errors)) = (all.await, found.remove("error")) else {
            return;
        };
        let input = found.remove("stdin").map(|stream| stream.input);
        let feed = async {
            if let (Some(mut input), Some(mut pipe)) = (input, stdin) {
                while let Some(data) = input.recv().await {
                    if pipe.write_all(&data).await.is_err() {
                        break;
                    }
                }
            }
            std::future::pending::<()>().await;
        };
        let drain = futures::future::join_all(outputs.into_iter().filter_map(|(kind, pipe)| {
            let (mut pipe, stream) = (pipe?, found.remove(kind)?);
            Some(async move {
                copy_out(&mut pipe, &stream.output).await;
                stream.output.finish().await;
            })
        }));
        let command = async { tokio::join!(api.streams.exec(exec), drain).0 };
        let status = tokio::select! {
            status = command => status,
            () = feed => return,
        };
        let status = match status {
            Ok(status) => status.to_status(),
            Err(error) => error.to_status(),
        };
        let _ = errors.output.send(Bytes::from(status.to_string())).await;
        errors.output.finish().await;
        // The client closes the connection when it has read everything.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = session => {}
        () = work => {}
    }
}
