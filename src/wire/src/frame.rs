//! Framing. Whatever arrives, reading ends in a message or a typed error, and never reserves more than [`MAX_FRAME`].

use serde::{Serialize, de::DeserializeOwned};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest frame, 16 MiB: a batch of a thousand outcomes with all their evidence is under one.
pub const MAX_FRAME: usize = 16 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is more than [`MAX_FRAME`]: not our protocol, or garbage.
    #[error("a frame of {0} bytes exceeds the limit of {MAX_FRAME}: the peer does not speak the agent protocol")]
    TooLarge(usize),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
    /// The bytes are not the expected message.
    #[error("cannot decode a frame: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(io::Error),
}

/// The message as a frame.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// The message in a frame's body.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

/// Reads one message; none when the stream ended between frames.
pub async fn read_frame<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<T>, FrameError> {
    read_body(stream).await?.map(|body| decode(&body)).transpose()
}

/// Reads one frame's body, not yet understood; none when the stream ended between frames.
pub async fn read_body(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, FrameError> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match stream.read(&mut length[filled..]).await.map_err(FrameError::Io)? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(FrameError::Truncated),
            n => filled += n,
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    // The length is the other side's word: memory follows what really arrives.
    let mut body = Vec::with_capacity(length.min(64 << 10));
    let read = stream
        .take(length as u64)
        .read_to_end(&mut body)
        .await
        .map_err(FrameError::Io)?;
    if read < length {
        return Err(FrameError::Truncated);
    }
    Ok(Some(body))
}

/// Writes one message and flushes.
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?).await.map_err(FrameError::Io)?;
    stream.flush().await.map_err(FrameError::Io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Command, Request, Response};
    use proptest::prelude::*;

    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, FrameError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(read_frame(&mut &bytes[..]))
    }

    #[test]
    fn a_message_survives_the_trip() {
        let request = Request {
            id: 7,
            command: Command::Ping,
        };
        assert_eq!(
            read::<Request>(&encode(&request).expect("encodes")).expect("reads"),
            Some(request)
        );
    }

    #[test]
    fn the_end_between_frames_is_no_error() {
        assert!(matches!(read::<Request>(&[]), Ok(None)));
    }

    #[test]
    fn a_huge_length_is_refused_without_reserving_it() {
        assert!(matches!(read::<Request>(&[0xff; 8]), Err(FrameError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<Request>(&bytes);
            let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
            framed.extend(&bytes);
            let _ = read::<Response>(&framed);
        }

        #[test]
        fn a_cut_frame_is_truncated(cut in 1usize..30) {
            let answer = Answer::Error { reason: "because of a reason".into() };
            let frame = encode(&Response { id: 1, answer }).expect("encodes");
            let cut = cut.min(frame.len() - 1);
            prop_assert!(matches!(read::<Response>(&frame[..cut]), Err(FrameError::Truncated)));
        }
    }
}
