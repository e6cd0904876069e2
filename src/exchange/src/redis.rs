//! PING to a Redis server, and the first line of its answer (RESP, <https://redis.io/docs/reference/protocol-spec>).

use crate::{Wire, broken};
use meshproof_contract::exchange::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer lines are no answer to PING.
const LINE: usize = 512;

pub(crate) async fn exchange(mut stream: impl Wire) -> Result<Answer, String> {
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") && line.len() < LINE {
        line.push(stream.read_u8().await.map_err(broken)?);
    }
    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
    if !line.starts_with(['+', '-']) {
        return Err(format!("the answer to PING is not that of a Redis server: {line:?}"));
    }
    Ok(Answer::Redis {
        demands_password: line.starts_with("-NOAUTH"),
        line,
    })
}
