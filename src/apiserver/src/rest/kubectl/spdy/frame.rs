//! Frames of SPDY/3.1, to and from bytes. Source: SPDY Protocol, Draft 3.1, sections 2.2 and 2.6.

use super::headers::Compression;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

const VERSION: u16 = 3;
const CONTROL: u32 = 0x8000_0000;
const STREAM: u32 = 0x7fff_ffff;
const FLAG_END: u8 = 1;
/// The longest frame taken. Clients send a few kilobytes at a time.
const LONGEST: usize = 4 * 1024 * 1024;

/// The content of a frame, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// SYN_STREAM.
    Open {
        stream: u32,
        headers: BTreeMap<String, String>,
        end: bool,
    },
    /// SYN_REPLY, without headers.
    Reply {
        stream: u32,
    },
    Data {
        stream: u32,
        data: Bytes,
        end: bool,
    },
    /// RST_STREAM.
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Anything else: settings, window updates, headers.
    Ignored,
}

/// Why bytes cannot be read as frames.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// Longer than any client sends.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// Not version 3.
    #[error("version {0} of SPDY is not spoken here")]
    Version(u16),
    /// The content is shorter than its type needs.
    #[error("a frame of type {0} is too short")]
    TooShort(u16),
    /// Headers that cannot be inflated or read.
    #[error("the headers of a frame are malformed")]
    Headers,
}

impl Frame {
    /// Takes one frame from the buffer; none when it is not complete yet.
    pub fn decode(buffer: &mut BytesMut, compression: &mut Compression) -> Result<Option<Self>, FrameError> {
        let Some(head) = buffer.first_chunk::<8>() else {
            return Ok(None);
        };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
        if length > LONGEST {
            return Err(FrameError::TooLong(length));
        }
        if buffer.len() < 8 + length {
            return Ok(None);
        }
        buffer.advance(8);
        let mut content = buffer.split_to(length).freeze();
        let end = flags & FLAG_END != 0;
        if first & CONTROL == 0 {
            return Ok(Some(Self::Data {
                stream: first,
                data: content,
                end,
            }));
        }
        let version = (first >> 16 & 0x7fff) as u16;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = (first & 0xffff) as u16;
        let needs = |bytes: usize| {
            if length < bytes {
                Err(FrameError::TooShort(kind))
            } else {
                Ok(())
            }
        };
        Ok(Some(match kind {
            1 => {
                needs(10)?;
                let stream = content.get_u32() & STREAM;
                content.advance(6);
                Self::Open {
                    stream,
                    headers: compression.read(&content).ok_or(FrameError::Headers)?,
                    end,
                }
            }
            2 | 8 => {
                needs(4)?;
                let stream = content.get_u32() & STREAM;
                // Read for the compression's sake: all header blocks of a connection are one stream.
                compression.read(&content).ok_or(FrameError::Headers)?;
                if kind == 2 {
                    Self::Reply { stream }
                } else {
                    Self::Ignored
                }
            }
            3 => {
                needs(8)?;
                Self::Reset {
                    stream: content.get_u32() & STREAM,
                }
            }
            6 => {
                needs(4)?;
                Self::Ping { id: content.get_u32() }
            }
            7 => Self::GoAway,
            _ => Self::Ignored,
        }))
    }

    /// The bytes of the frame.
    pub fn encode(&self, compression: &mut Compression) -> Result<Bytes, FrameError> {
        let mut bytes = BytesMut::new();
        let mut control = |kind: u16, end: bool, content: &[u8]| {
            bytes.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
            put_length(&mut bytes, end, content.len());
            bytes.put_slice(content);
        };
        match self {
            Self::Open { stream, headers, end } => {
                let mut content = BytesMut::new();
                content.put_u32(*stream);
                content.put_bytes(0, 6);
                content.put_slice(&compression.write(headers).ok_or(FrameError::Headers)?);
                control(1, *end, &content);
            }
            Self::Reply { stream } => {
                let mut content = BytesMut::new();
                content.put_u32(*stream);
                content.put_slice(&compression.write(&BTreeMap::new()).ok_or(FrameError::Headers)?);
                control(2, false, &content);
            }
            Self::Reset { stream } => {
                // Status 5: cancel.
                control(3, false, &[stream.to_be_bytes(), 5u32.to_be_bytes()].concat());
            }
            Self::Ping { id } => control(6, false, &id.to_be_bytes()),
            Self::GoAway => control(7, false, &[0; 8]),
            Self::Data { stream, data, end } => {
                bytes.put_u32(*stream & STREAM);
                put_length(&mut bytes, *end, data.len());
                bytes.put_slice(data);
            }
            Self::Ignored => {}
        }
        Ok(bytes.freeze())
    }
}

fn put_length(bytes: &mut BytesMut, end: bool, length: usize) {
    let flags = if end { u32::from(FLAG_END) } else { 0 };
    bytes.put_u32(flags << 24 | (length as u32 & 0x00ff_ffff));
}

/// Any bytes, arriving in pieces: decoding ends in frames or an error, and a decoded frame survives being encoded and
/// decoded again.
///
/// # Panics
/// When it does not.
#[doc(hidden)]
pub fn spdy_frame(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let [mut received, mut sent, mut again] = [(); 3].map(|()| Compression::new());
    let mut buffer = BytesMut::new();
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let frame = match Frame::decode(&mut buffer, &mut received) {
                Ok(Some(Frame::Ignored)) => continue,
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            let encoded = frame
                .encode(&mut sent)
                .expect("a frame that was decoded can be encoded");
            let mut encoded = BytesMut::from(&encoded[..]);
            let decoded = Frame::decode(&mut encoded, &mut again).expect("a frame that was encoded can be decoded");
            assert_eq!(decoded, Some(frame));
            assert!(encoded.is_empty(), "{} bytes too many", encoded.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, Frame};
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            cut in 1..20usize,
        ) {
            let (mut out, mut into) = (Compression::new(), Compression::new());
            let mut wire = Vec::new();
            for (index, payload) in payloads.iter().enumerate() {
                let headers = [("n".to_owned(), index.to_string())].into();
                let stream = 2 * index as u32 + 1;
                wire.extend(Frame::Open { stream, headers, end: false }.encode(&mut out).expect("it encodes"));
                let data = Bytes::copy_from_slice(payload);
                wire.extend(Frame::Data { stream, data, end: true }.encode(&mut out).expect("it encodes"));
            }
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Frame::decode(&mut buffer, &mut into).expect("it decodes") {
                    match frame {
                        Frame::Open { headers, .. } => prop_assert_eq!(&headers["n"], &seen.len().to_string()),
                        Frame::Data { data, end: true, .. } => seen.push(data.to_vec()),
                        other => prop_assert!(false, "unexpected {other:?}"),
                    }
                }
            }
            prop_assert_eq!(seen, payloads);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(bytes.as_slice());
            let mut compression = Compression::new();
            while let Ok(Some(_)) = Frame::decode(&mut buffer, &mut compression) {}
        }
    }
}
