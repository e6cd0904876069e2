//! Port-forward over a WebSocket: two channels a port (data, error) that begin with the port's number
//! (`v4.channel.k8s.io`, what kube-rs speaks), or SPDY frames in messages (`SPDY/3.1+portforward.k8s.io`, what kubectl
//! speaks since 1.31). Older clients ask for SPDY itself.

use super::running_pod;
use crate::{
    error::ApiError,
    object::Object,
    rest::{
        call::{Api, Call},
        kubectl::spdy_streams,
        path::ResolvedPath,
        websocket::{farewell, selected, upgrade},
    },
};
use axum::{
    extract::ws::{Message, WebSocket},
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, Stream, StreamExt, stream::SplitSink};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

const V4: &str = "v4.channel.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Messages on their way to the client before the pod's side waits.
const QUEUE: usize = 16;
/// Bytes read from the pod at a time.
const CHUNK: usize = 32 * 1024;

pub(crate) async fn answer(mut call: Call, path: &ResolvedPath<'_>) -> Result<Response, ApiError> {
    let pod = running_pod(&call, path)?;
    let ports = ports(&call)?;
    if spdy_streams::is_wanted(&call) {
        let api = Arc::clone(&call.api);
        return spdy_streams::upgrade(&mut call, "portforward.k8s.io", move |io| async move {
            spdy_streams::forward(io, &api, &pod).await;
        });
    }
    let upgrade = upgrade(&mut call, &[TUNNEL, V4]).await?;
    let tunnelled = selected(&upgrade) == TUNNEL;
    if !tunnelled && ports.is_empty() {
        return Err(ApiError::bad_request("query parameter \"ports\" is required"));
    }
    let api = Arc::clone(&call.api);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let stop = api.stop.clone();
        let forwarding = async {
            if tunnelled {
                spdy_streams::tunnel(socket, |io| spdy_streams::forward(io, &api, &pod)).await;
            } else {
                forward(socket, &api, &pod, &ports).await;
            }
        };
        tokio::select! {
            () = forwarding => {}
            () = stop.cancelled() => {}
        }
    }))
}

fn ports(call: &Call) -> Result<Vec<u16>, ApiError> {
    let texts = call
        .query
        .all("ports")
        .flat_map(|list| list.split(','))
        .filter(|text| !text.is_empty());
    let port = |text: &str| match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ApiError::bad_request(format!("unable to parse \"{text}\" as a port"))),
    };
    texts.map(port).collect()
}

type Outgoing = mpsc::Sender<(u8, Bytes)>;

async fn forward(socket: WebSocket, api: &Api, pod: &Object, ports: &[u16]) {
    let (sink, source) = socket.split();
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let mut inputs = Vec::new();
    let mut connections = Vec::new();
    for (channel, port) in (0u8..).step_by(2).zip(ports) {
        let (input, from_client) = mpsc::channel(QUEUE);
        inputs.push(Some(input));
        connections.push(connect(api, pod, *port, channel, outgoing.clone(), from_client));
    }
    drop(outgoing);
    let all = futures::future::join_all(connections);
    let (all, sending) = (async { drop(all.await) }, send(sink, queue));
    let served = async {
        tokio::join!(all, sending);
    };
    let client = receive(source, inputs);
    tokio::pin!(client);
    tokio::select! {
        () = served => {
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), client).await;
        }
        () = client.as_mut() => {}
    }
}

/// One port, until both sides have closed it.
async fn connect(
    api: &Api,
    pod: &Object,
    port: u16,
    channel: u8,
    outgoing: Outgoing,
    mut from_client: mpsc::Receiver<Bytes>,
) {
    let number = Bytes::copy_from_slice(&port.to_le_bytes());
    for channel in [channel, channel + 1] {
        let _ = outgoing.send((channel, number.clone())).await;
    }
    let stream = match api.streams.port_forward(pod, port).await {
        Ok(stream) => stream,
        Err(error) => {
            let message = format!("error forwarding port {port} to pod {}, uid : {error}", pod.name());
            let _ = outgoing.send((channel + 1, Bytes::from(message))).await;
            return;
        }
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let to_client = async {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while matches!(reader.read_buf(&mut chunk).await, Ok(read) if read > 0) {
            if outgoing.send((channel, chunk.split().freeze())).await.is_err() {
                return;
            }
            chunk.reserve(CHUNK);
        }
    };
    let to_pod = async {
        while let Some(data) = from_client.recv().await {
            if writer.write_all(&data).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
        // This protocol cannot close one direction: the answer may still be on its way.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = to_client => {}
        () = to_pod => {}
    }
}

async fn send(mut sink: SplitSink<WebSocket, Message>, mut queue: mpsc::Receiver<(u8, Bytes)>) {
    while let Some((channel, data)) = queue.recv().await {
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(channel);
        message.put_slice(&data);
        if sink.send(Message::Binary(message.freeze())).await.is_err() {
            return;
        }
    }
    let _ = sink.send(farewell()).await;
}

async fn receive(
    mut source: impl Stream<Item = Result<Message, axum::Error>> + Unpin,
    mut inputs: Vec<Option<mpsc::Sender<Bytes>>>,
) {
    while let Some(Ok(message)) = source.next().await {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Close(_) => return,
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) => continue,
        };
        if data.len() < 2 {
            continue;
        }
        let channel = usize::from(data.split_to(1)[0]);
        if let Some(slot) = inputs.get_mut(channel / 2).filter(|_| channel.is_multiple_of(2))
            && let Some(input) = slot
            && input.send(data).await.is_err()
        {
            *slot = None;
        }
    }
}
