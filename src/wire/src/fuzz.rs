//! The entry point of the fuzz target `wire_frame`.

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

use crate::{Hello, MAX_FRAME, Request, Response, encode, read_body, read_frame};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt::Debug,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Any bytes, as a stream and as the body of a frame: reading ends in a message or an error, and a message that was
/// read survives being written and read again.
///
/// # Panics
/// When it does not.
pub fn frame(bytes: &[u8]) {
    let framed = [&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes(), bytes].concat();
    for stream in [bytes, &framed] {
        if let Ok(Some(body)) = now(read_body(&mut &stream[..])) {
            assert!(body.len() <= MAX_FRAME && body.len() + 4 <= stream.len());
        }
        again::<Hello>(stream);
        again::<Request>(stream);
        again::<Response>(stream);
    }
}

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(mut stream: &[u8]) {
    let Ok(Some(message)) = now(read_frame::<T>(&mut stream)) else {
        return;
    };
    let written = encode(&message).expect("what was a frame fits a frame");
    let read = now(read_frame::<T>(&mut &written[..])).expect("what was written can be read");
    assert_eq!(read, Some(message));
}

/// The result of reading from memory, which never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("memory is always ready"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_and_its_mutations() {
        super::replay::replay("wire_frame", 20_000, super::frame);
    }
}
