//! A request body that is generated while it is sent.

use crate::payload::Pattern;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

const CHUNK: u64 = 16 << 10;

/// `length` bytes of a pattern.
pub(super) struct PatternBody {
    pattern: Pattern,
    at: u64,
    length: u64,
}

impl PatternBody {
    pub(super) fn new(pattern: Pattern, length: u32) -> Self {
        Self {
            pattern,
            at: 0,
            length: u64::from(length),
        }
    }
}

impl Body for PatternBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let n = (self.length - self.at).min(CHUNK);
        if n == 0 {
            return Poll::Ready(None);
        }
        let bytes = self.pattern.bytes(self.at, n as usize);
        self.at += n;
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }
    fn is_end_stream(&self) -> bool {
        self.at == self.length
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.at)
    }
}
