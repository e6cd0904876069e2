//! Protocols of applications over a stream that somebody else opened: TLS, HTTP, PostgreSQL, Redis.
//!
//! It opens no connection, knows no cluster, and judges nothing: what came back is [`meshproof_contract::Heard`].

mod http;
mod postgres;
mod redis;
mod tls;

use meshproof_contract::{
    Speech,
    exchange::{Answer, TlsHeard},
};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A stream of bytes both ways.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// What was said on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// TLS, if a handshake was made.
    pub tls: Option<TlsHeard>,
    /// The answer, if one came that belongs to the protocol.
    pub answer: Option<Answer>,
    /// Why there is none, or no complete one.
    pub failure: Option<String>,
}

/// Speaks on a stream until the answer is there, or cannot come any more. The caller has the clock.
pub async fn speak(stream: impl Wire, speech: &Speech) -> Spoken {
    let mut spoken = Spoken::default();
    let done = match speech {
        Speech::Tls(client) => tls::handshake(stream, client, &[], &mut spoken.tls).await.map(|_| None),
        Speech::Http { tls: None, .. } => http::exchange(stream, speech).await.map(Some),
        Speech::Http { tls: Some(client), .. } => {
            match tls::handshake(stream, client, &[b"http/1.1"], &mut spoken.tls).await {
                Ok(stream) => http::exchange(stream, speech).await.map(Some),
                Err(failure) => Err(failure),
            }
        }
        Speech::Postgres(client) => postgres::exchange(stream, client, &mut spoken.tls).await.map(Some),
        Speech::Redis => redis::exchange(stream).await.map(Some),
    };
    match done {
        Ok(answer) => spoken.answer = answer,
        Err(failure) => spoken.failure = Some(failure),
    }
    spoken
}

/// Reads exactly so many bytes.
async fn read_exact(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<(), String> {
    stream.read_exact(buffer).await.map(|_| ()).map_err(broken)
}

/// Why a stream ended, for people.
fn broken(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed before the answer".to_owned(),
        _ => format!("the connection broke: {error}"),
    }
}
