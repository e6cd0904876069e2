//! SPDY/3.1 as far as `kubectl` and client-go need it for exec and port-forward: a connection that carries streams with
//! headers. Flow control is left out, as it is by their library (moby/spdystream).

mod frame;
mod headers;

use crate::streams::Duplex;
use bytes::{Bytes, BytesMut};
pub use frame::spdy_frame;

use frame::Frame;
use headers::Compression;
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf},
    sync::mpsc,
};

/// Frames on their way before a sender waits.
const QUEUE: usize = 32;
/// The most data in a frame that is sent.
const CHUNK: usize = 32 * 1024;

/// A stream that the client opened.
pub(super) struct Stream {
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What the client sends; ends when the client has closed its side.
    pub input: mpsc::Receiver<Bytes>,
    pub output: Output,
}

impl Stream {
    /// The value of a header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The server's side of a stream.
pub(super) struct Output {
    id: u32,
    frames: mpsc::Sender<Frame>,
}

/// The connection is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Output {
    pub async fn send(&self, mut data: Bytes) -> Result<(), Gone> {
        while !data.is_empty() {
            let data = data.split_to(data.len().min(CHUNK));
            self.frames
                .send(Frame::Data {
                    stream: self.id,
                    data,
                    end: false,
                })
                .await
                .map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Closes the server's side.
    pub async fn finish(self) {
        let _ = self
            .frames
            .send(Frame::Data {
                stream: self.id,
                data: Bytes::new(),
                end: true,
            })
            .await;
    }
}

/// Serves a connection until the client closes it or breaks the protocol: new streams go to `opened`.
pub(super) async fn serve(io: Duplex, opened: mpsc::Sender<Stream>) {
    let (reader, mut writer) = tokio::io::split(io);
    let (frames, mut queue) = mpsc::channel::<Frame>(QUEUE);
    let write = async {
        let mut compression = Compression::new();
        while let Some(frame) = queue.recv().await {
            let Ok(encoded) = frame.encode(&mut compression) else {
                return;
            };
            if writer.write_all(&encoded).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read(reader, frames, opened) => {}
        () = write => {}
    }
    let _ = writer.shutdown().await;
}

async fn read(mut reader: ReadHalf<Duplex>, frames: mpsc::Sender<Frame>, opened: mpsc::Sender<Stream>) {
    let mut compression = Compression::new();
    let mut inputs: BTreeMap<u32, mpsc::Sender<Bytes>> = BTreeMap::new();
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        let frame = match Frame::decode(&mut buffer, &mut compression) {
            Ok(Some(frame)) => frame,
            Ok(None) => match reader.read_buf(&mut buffer).await {
                Ok(read) if read > 0 => continue,
                _ => return,
            },
            Err(error) => return tracing::debug!(%error, "a SPDY connection broke the protocol"),
        };
        match frame {
            Frame::Open {
                stream: id,
                headers,
                end,
            } => {
                let (input, receiver) = mpsc::channel(QUEUE);
                if !end {
                    inputs.insert(id, input);
                }
                let output = Output {
                    id,
                    frames: frames.clone(),
                };
                // The client waits for the reply before it sends.
                let replied = frames.send(Frame::Reply { stream: id }).await.is_ok();
                let stream = Stream {
                    headers,
                    input: receiver,
                    output,
                };
                if !replied || opened.send(stream).await.is_err() {
                    return;
                }
            }
            Frame::Data { stream, data, end } => {
                if let Some(input) = inputs.get(&stream)
                    && !data.is_empty()
                    && input.send(data).await.is_err()
                {
                    inputs.remove(&stream);
                }
                if end {
                    inputs.remove(&stream);
                }
            }
            Frame::Reset { stream } => {
                inputs.remove(&stream);
            }
            Frame::Ping { id } => {
                if frames.send(Frame::Ping { id }).await.is_err() {
                    return;
                }
            }
            Frame::GoAway => return,
            Frame::Reply { .. } | Frame::Ignored => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{frame::Frame, headers::Compression};
    use bytes::{Bytes, BytesMut};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::mpsc,
    };

    /// Reads frames as a client does.
    async fn next(io: &mut tokio::io::DuplexStream, buffer: &mut BytesMut, compression: &mut Compression) -> Frame {
        loop {
            if let Some(frame) = Frame::decode(buffer, compression).expect("the server keeps the protocol") {
                return frame;
            }
            assert!(
                io.read_buf(buffer).await.expect("the connection is open") > 0,
                "the server closed"
            );
        }
    }

    #[tokio::test]
    async fn a_stream_carries_data_both_ways() {
        let (mut client, server) = tokio::io::duplex(1024);
        let (opened, mut streams) = mpsc::channel(1);
        let serving = tokio::spawn(super::serve(Box::pin(server), opened));
        let (mut sending, mut receiving, mut buffer) = (Compression::new(), Compression::new(), BytesMut::new());
        let headers = [("streamtype".to_owned(), "data".to_owned())].into();
        for frame in [
            Frame::Open {
                stream: 1,
                headers,
                end: false,
            },
            Frame::Data {
                stream: 1,
                data: Bytes::from_static(b"ping"),
                end: true,
            },
            Frame::Ping { id: 7 },
        ] {
            let bytes = frame.encode(&mut sending).expect("it encodes");
            client.write_all(&bytes).await.expect("the server reads");
        }
        assert!(matches!(
            next(&mut client, &mut buffer, &mut receiving).await,
            Frame::Reply { stream: 1 }
        ));
        let mut stream = streams.recv().await.expect("a stream is opened");
        assert_eq!(stream.header("streamtype"), "data");
        assert_eq!(stream.input.recv().await.as_deref(), Some(b"ping".as_slice()));
        assert_eq!(stream.input.recv().await, None, "the client closed its side");
        assert!(matches!(
            next(&mut client, &mut buffer, &mut receiving).await,
            Frame::Ping { id: 7 }
        ));
        stream
            .output
            .send(Bytes::from_static(b"pong"))
            .await
            .expect("the client is there");
        stream.output.finish().await;
        let answer = next(&mut client, &mut buffer, &mut receiving).await;
        assert!(matches!(answer, Frame::Data { stream: 1, data, end: false } if data == "pong"));
        assert!(matches!(
            next(&mut client, &mut buffer, &mut receiving).await,
            Frame::Data { end: true, .. }
        ));
        drop(client);
        serving.await.expect("serving ends with the connection");
    }
}
