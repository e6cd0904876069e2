//! A packet's bytes with room in front for outer headers, and a pool of such buffers.

use std::fmt;

/// Bytes free in front of a fresh packet: Ethernet, and VXLAN in UDP in IPv4, with some to spare.
pub const HEADROOM: usize = 128;

/// One packet, owned. Prepending headers up to [`HEADROOM`] does not copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    buffer: Vec<u8>,
    start: usize,
}

impl Packet {
    /// Copies the bytes behind fresh headroom.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Vec::with_capacity(HEADROOM + bytes.len());
        buffer.resize(HEADROOM, 0);
        buffer.extend_from_slice(bytes);
        Self {
            buffer,
            start: HEADROOM,
        }
    }

    /// A packet of `len` zero bytes, to be read into.
    pub fn zeroed(len: usize) -> Self {
        Self {
            buffer: vec![0; HEADROOM + len],
            start: HEADROOM,
        }
    }

    /// The packet.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// The packet, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows at the front by `len` bytes and returns them; their content is unspecified.
    pub fn prepend(&mut self, len: usize) -> &mut [u8] {
        if len > self.start {
            let missing = len - self.start;
            self.buffer.splice(0..0, std::iter::repeat_n(0, missing));
            self.start += missing;
        }
        self.start -= len;
        &mut self.buffer[self.start..self.start + len]
    }

    /// Cuts `len` bytes off the front, at most all.
    pub fn strip(&mut self, len: usize) {
        self.start = (self.start + len).min(self.buffer.len());
    }

    /// Cuts the end so that `len` bytes remain; does nothing if there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.buffer.truncate(self.start + len);
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match super::Headers::read(self.bytes()) {
            Ok(headers) => write!(f, "Packet({}, {} bytes)", headers.tuple, self.len()),
            Err(_) => write!(f, "Packet({} bytes)", self.len()),
        }
    }
}

/// Buffers to use again, because a malloc of two kilobytes per packet shows in the profile.
#[derive(Debug)]
pub struct PacketPool {
    free: Vec<Packet>,
    size: usize,
    keep: usize,
}

impl PacketPool {
    /// Keeps at most `keep` buffers for packets of up to `size` bytes.
    pub fn new(size: usize, keep: usize) -> Self {
        Self {
            free: Vec::new(),
            size,
            keep,
        }
    }

    /// A buffer of the pool's full size; its content is unspecified.
    pub fn take(&mut self) -> Packet {
        let Some(mut packet) = self.free.pop() else {
            return Packet::zeroed(self.size);
        };
        packet.start = HEADROOM;
        packet.buffer.resize(HEADROOM + self.size, 0);
        packet
    }

    /// Gives a buffer back.
    pub fn put(&mut self, packet: Packet) {
        if self.free.len() < self.keep && packet.buffer.capacity() >= HEADROOM + self.size {
            self.free.push(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepending_keeps_the_payload_even_without_headroom() {
        let mut packet = Packet::copy_of(b"payload");
        packet.prepend(3).copy_from_slice(b"abc");
        assert_eq!(packet.bytes(), b"abcpayload");
        packet.strip(3);
        packet.prepend(200).fill(7);
        assert_eq!(packet.len(), 207);
        assert_eq!(&packet.bytes()[200..], b"payload");
    }

    #[test]
    fn a_pooled_buffer_has_full_size_and_headroom_again() {
        let mut pool = PacketPool::new(64, 2);
        let mut packet = pool.take();
        packet.truncate(10);
        packet.prepend(50);
        pool.put(packet);
        let again = pool.take();
        assert_eq!(again.len(), 64);
        assert_eq!(again.start, HEADROOM);
    }
}
