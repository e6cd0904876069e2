//! Header blocks: names and values with their lengths, deflated as one stream a direction, with a preset dictionary.
//! Source: SPDY Protocol, Draft 3.1, section 2.6.10.

use bytes::{Buf, BufMut, BytesMut};
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use std::collections::BTreeMap;

/// The words at the beginning of the dictionary, each with its length before it.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
/// The rest of the dictionary.
const TEXT: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505",
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized",
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,",
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
);
/// The longest block taken, inflated.
const LONGEST: usize = 64 * 1024;

fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS {
        dictionary.extend((word.len() as u32).to_be_bytes());
        dictionary.extend(word.as_bytes());
    }
    dictionary.extend(TEXT.as_bytes());
    dictionary
}

/// The compression of one direction of a connection: reads or writes, not both.
pub(super) struct Compression {
    inflate: Decompress,
    deflate: Option<Compress>,
}

impl Compression {
    pub fn new() -> Self {
        Self {
            inflate: Decompress::new(true),
            deflate: None,
        }
    }

    /// Inflates and reads a block; none when it is malformed.
    pub fn read(&mut self, block: &[u8]) -> Option<BTreeMap<String, String>> {
        let plain = self.inflate(block)?;
        let mut plain = plain.as_slice();
        let count = plain.try_get_u32().ok()?;
        let mut headers = BTreeMap::new();
        for _ in 0..count {
            let name = text(&mut plain)?;
            let value = text(&mut plain)?;
            headers.insert(name.to_ascii_lowercase(), value);
        }
        Some(headers)
    }

    fn inflate(&mut self, block: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let before = (self.inflate.total_in(), plain.len());
            match self.inflate.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&dictionary()).ok()?;
                }
                Err(_) => return None,
            }
            let taken = usize::try_from(self.inflate.total_in() - before.0).ok()?;
            rest = rest.get(taken..)?;
            let full = plain.len() == plain.capacity();
            if rest.is_empty() && !full {
                return Some(plain);
            }
            if plain.len() > LONGEST || (taken == 0 && plain.len() == before.1 && !full) {
                return None;
            }
            plain.reserve(1024);
        }
    }

    /// Deflates a block.
    pub fn write(&mut self, headers: &BTreeMap<String, String>) -> Option<Vec<u8>> {
        let deflate = match &mut self.deflate {
            Some(deflate) => deflate,
            slot => {
                let mut deflate = Compress::new(flate2::Compression::fast(), true);
                deflate.set_dictionary(&dictionary()).ok()?;
                slot.insert(deflate)
            }
        };
        let mut plain = BytesMut::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let mut rest = &plain[..];
        loop {
            let before = deflate.total_in();
            deflate.compress_vec(rest, &mut block, FlushCompress::Sync).ok()?;
            let taken = usize::try_from(deflate.total_in() - before).ok()?;
            rest = rest.get(taken..)?;
            if rest.is_empty() && block.len() < block.capacity() {
                return Some(block);
            }
            block.reserve(256);
        }
    }
}

fn text(plain: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(plain.try_get_u32().ok()?).ok()?;
    let (text, rest) = plain.split_at_checked(length)?;
    *plain = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::{Compression, dictionary};
    use std::collections::BTreeMap;

    #[test]
    fn the_dictionary_is_that_of_the_standard() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        assert_eq!(b << 16 | a, 0xe3c6_a7c2, "its Adler-32 is known");
    }

    #[test]
    fn blocks_follow_each_other() {
        let (mut out, mut into) = (Compression::new(), Compression::new());
        for index in 0..5 {
            let headers: BTreeMap<String, String> = [
                ("streamtype".to_owned(), "error".to_owned()),
                ("port".to_owned(), index.to_string()),
            ]
            .into();
            let block = out.write(&headers).expect("it deflates");
            assert_eq!(into.read(&block), Some(headers));
        }
        let long: BTreeMap<String, String> = [("x".to_owned(), "y".repeat(20_000))].into();
        let block = out.write(&long).expect("it deflates");
        assert_eq!(into.read(&block), Some(long));
    }
}
