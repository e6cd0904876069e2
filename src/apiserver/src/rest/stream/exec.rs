//! Exec over a WebSocket: channels of one byte before the data, `v4.channel.k8s.io` and `v5.channel.k8s.io`
//! (`k8s.io/apimachinery/pkg/util/remotecommand`, `k8s.io/client-go/tools/remotecommand`). Older clients ask for SPDY.

use super::{container, running_pod};
use crate::{
    error::ApiError,
    rest::{
        call::{Api, Call},
        kubectl::spdy_streams,
        path::ResolvedPath,
        websocket::{farewell, selected, upgrade},
    },
    streams::{Exec, Reader, Terminal, Writer},
};
use axum::{
    extract::ws::{Message, WebSocket},
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_util::io::ReaderStream;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// v5: the next byte names a channel that its sender has closed.
const CLOSE: u8 = 255;
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
/// Bytes that a stream holds before its sender waits.
const PIPE: usize = 64 * 1024;

pub(crate) async fn answer(mut call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let pod = running_pod(&call, path)?;
    let container = container(&call, &pod)?;
    let argv: Vec<String> = call.query.all("command").map(str::to_owned).collect();
    if argv.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    let terminal = if call.query.flag("tty") {
        Terminal::Tty
    } else {
        Terminal::None
    };
    let pipe = |wanted: bool| wanted.then(|| tokio::io::duplex(PIPE)).unzip();
    let (stdin_here, stdin) = pipe(call.query.flag("stdin"));
    let (stdout_here, stdout) = pipe(call.query.flag("stdout"));
    let (stderr_here, stderr) = pipe(call.query.flag("stderr") && terminal == Terminal::None);
    if stdin.is_none() && stdout.is_none() && stderr.is_none() {
        return Err(ApiError::bad_request(
            "you must specify at least one of stdin, stdout, stderr",
        ));
    }
    let exec = Exec {
        pod,
        container,
        argv,
        stdin: stdin.map(|pipe: DuplexStream| Box::pin(pipe) as Reader),
        stdout: stdout.map(|pipe: DuplexStream| Box::pin(pipe) as Writer),
        stderr: stderr.map(|pipe: DuplexStream| Box::pin(pipe) as Writer),
        terminal,
    };
    if spdy_streams::is_wanted(&call) {
        let api = Arc::clone(&call.api);
        return spdy_streams::upgrade(&mut call, V4, move |io| async move {
            spdy_streams::exec(
                io,
                &api,
                exec,
                stdin_here,
                [("stdout", stdout_here), ("stderr", stderr_here)],
            )
            .await;
        });
    }
    let upgrade = upgrade(&mut call, &[V5, V4]).await?;
    let closing = if selected(&upgrade) == V5 {
        Closing::Signalled
    } else {
        Closing::Unknown
    };
    let api = Arc::clone(&call.api);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let stop = api.stop.clone();
        let running = run(
            socket,
            &api,
            exec,
            closing,
            stdin_here,
            [(STDOUT, stdout_here), (STDERR, stderr_here)],
        );
        tokio::select! {
            () = running => {}
            () = stop.cancelled() => {}
        }
    }))
}

/// Whether the client can signal the end of its stdin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Signalled,
    Unknown,
}

/// Carries the streams until the command has ended and everything is sent, or the client has gone.
async fn run(
    socket: WebSocket,
    api: &Api,
    exec: Exec,
    closing: Closing,
    stdin: Option<DuplexStream>,
    outputs: [(u8, Option<DuplexStream>); 2],
) {
    let (mut sink, source) = socket.split();
    let outputs = outputs.into_iter().filter_map(|(channel, pipe)| Some((channel, pipe?)));
    let outputs = futures::stream::select_all(outputs.map(|(channel, pipe)| {
        ReaderStream::new(pipe)
            .filter_map(move |read| async move { Some((channel, read.ok()?)) })
            .boxed()
    }));
    let command = async {
        let (status, ()) = tokio::join!(api.streams.exec(exec), send_all(&mut sink, outputs));
        let status = match status {
            Ok(status) => status.to_status(),
            Err(error) => error.to_status(),
        };
        let _ = sink.send(framed(ERROR, status.to_string().as_bytes())).await;
        let _ = sink.send(farewell()).await;
        // The client answers the close; to end the connection before that may cost it what is still on the way.
    };
    let client = receive(source, stdin, closing);
    tokio::pin!(client);
    tokio::select! {
        () = command => {
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), client).await;
        }
        () = client.as_mut() => {}
    }
}

async fn send_all(sink: &mut (impl Sink<Message> + Unpin), mut outputs: impl Stream<Item = (u8, Bytes)> + Unpin) {
    while let Some((channel, data)) = outputs.next().await {
        if sink.send(framed(channel, &data)).await.is_err() {
            return;
        }
    }
}

fn framed(channel: u8, data: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.put_slice(data);
    Message::Binary(message.freeze())
}

/// Takes in what the client sends, until it closes the connection.
async fn receive(
    mut source: impl Stream<Item = Result<Message, axum::Error>> + Unpin,
    mut stdin: Option<DuplexStream>,
    closing: Closing,
) {
    while let Some(Ok(message)) = source.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        match data.as_ref() {
            [CLOSE, STDIN, ..] if closing == Closing::Signalled => stdin = None,
            [STDIN, input @ ..] => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(input).await.is_err()
                {
                    stdin = None;
                }
            }
            // Terminal sizes, and channels that this server does not know.
            _ => {}
        }
    }
}
