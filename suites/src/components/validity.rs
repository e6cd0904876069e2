//! When certificates end: the validity of X.509 certificates (RFC 5280, 4.1), read from PEM. Signatures, names and keys
//! are not looked at.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Timestamp,
}

/// DER: an integer, a sequence, the two kinds of time, and the version's own tag.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The validities of all certificates in a PEM file; none if one of them cannot be read, or there is none.
pub fn read_pem(pem: &str) -> Option<Vec<Validity>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let blocks = pem.split(BEGIN).skip(1).map(|rest| {
        let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
        read_der(&from_base64(body)?)
    });
    let all: Vec<Validity> = blocks.collect::<Option<_>>()?;
    (!all.is_empty()).then_some(all)
}

/// Decodes base64 (RFC 4648, 4), white space left out; none if it is something else.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace()) {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

fn read_der(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, VERSION)?.1;
    }
    rest = element(rest, INTEGER)?.1;
    // The algorithm of the signature, and the issuer.
    rest = element(rest, SEQUENCE)?.1;
    rest = element(rest, SEQUENCE)?.1;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(Validity { not_before, not_after })
}

/// The content of the first element, which has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let number = usize::from(first & 0x7f);
        if number == 0 || number > 4 || rest.len() < number {
            return None;
        }
        let (bytes, after) = rest.split_at(number);
        length = bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
        rest = after;
    }
    (found == tag && rest.len() >= length).then(|| rest.split_at(length))
}

fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, digits) = match *der.first()? {
        UTC_TIME => (UTC_TIME, 2),
        GENERALIZED_TIME => (GENERALIZED_TIME, 4),
        _ => return None,
    };
    let (content, rest) = element(der, tag)?;
    let text = std::str::from_utf8(content).ok()?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let year = match (digits, number(0, digits)?) {
        // 50 to 99 are of the last century (RFC 5280, 4.1.2.5.1).
        (2, year) if year >= 50 => 1900 + year,
        (2, year) => 2000 + year,
        (_, year) => year,
    };
    let part = |index: usize| Some(number(digits + 2 * index, digits + 2 * index + 2)? as i8);
    let at = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    Some((at.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}
