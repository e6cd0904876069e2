//! Looking for plaintext on the wire: what an agent in the capture role watches, and what it saw.
//!
//! The conditions that a proof needs are those of a capture that could have failed: a marker sent in clear on purpose
//! is seen, the kernel dropped nothing, and ciphertext between the right peers is counted beside the plaintext that is
//! not there.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, net::IpAddr, str::FromStr};

/// Bytes that nothing else on the network carries by chance: 128 random bits, written as 32 hexadecimal digits.
///
/// Where text is needed (an HTTP header, a DNS label), send the digits and watch for them as [`Needle::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Marker(pub [u8; 16]);

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is given as a marker or needle is not hexadecimal, or of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not bytes in hexadecimal digits, or not of the right length")]
pub struct NotHex;

impl FromStr for Marker {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        from_hex(text)?.try_into().map(Marker).map_err(|_| NotHex)
    }
}

impl Serialize for Marker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Marker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>, NotHex> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(NotHex);
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NotHex))
        .collect()
}

/// Bytes to look for in every packet, 4 to 64 of them, written in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Needle(Vec<u8>);

impl Needle {
    /// These bytes; none if there are fewer than 4 or more than 64.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        Some(bytes.into())
            .filter(|bytes| (4..=64).contains(&bytes.len()))
            .map(Self)
    }
    /// A marker as raw bytes.
    pub fn raw(marker: Marker) -> Self {
        Self(marker.0.into())
    }
    /// A marker as its digits in text.
    pub fn text(marker: Marker) -> Self {
        Self(marker.to_string().into_bytes())
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Needle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Needle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_hex(&text).map_err(serde::de::Error::custom)?;
        Self::new(bytes).ok_or_else(|| serde::de::Error::custom(NotHex))
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSpec {
    /// Network devices by name, those between nodes. One that does not exist is an error.
    pub devices: Vec<String>,
    /// If given, every other link of the machine too by which it could send to other machines, unless its name begins
    /// with one of these: all that are up, but loopback, bridges (their ports are watched), devices that send nowhere
    /// (dummy), and links without an address of their own that lead into another network namespace (those of pods).
    #[serde(default)]
    pub others_but: Option<Vec<String>>,
    /// What must not be seen, or, as the instrument's control, must be. At most 4,096; hits name them by their
    /// position here.
    #[serde(default)]
    pub needles: Vec<Needle>,
    /// Pod networks: a packet from or to one of them is listed, whatever it carries (SYN, RST, ICMP carry no marker),
    /// and so is one that an ICMP error quotes. VXLAN (8472, 4789) and Geneve (6081) are looked into, since they hide
    /// nothing.
    #[serde(default)]
    pub pods: Vec<IpNet>,
    /// WireGuard's UDP port, 51871 with Cilium; none if nothing is to be counted.
    #[serde(default)]
    pub wireguard: Option<u16>,
    /// Whether WireGuard's messages are counted by their size, too.
    #[serde(default)]
    pub sizes: bool,
    /// Seconds after which it ends by itself, up to 3,600, so that a harness that died leaves nothing running.
    pub seconds: u32,
}

/// What was seen up to now. Counts are from the start, and everything queued in the kernel is counted before the
/// answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureReport {
    /// One for each device of the specification, in its order, then the other links.
    pub devices: Vec<DeviceCapture>,
    /// Links that were not watched, although every link was to be: what goes over them does not leave the machine.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// Whether it has ended by itself: what came later was not seen.
    pub ended: bool,
}

/// What was seen on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceCapture {
    /// Its name.
    pub device: String,
    /// Packets seen.
    pub packets: u64,
    /// Their bytes from the IP header on.
    pub bytes: u64,
    /// Packets that the kernel dropped because the agent was too slow: unless 0, absence proves nothing.
    pub dropped: u64,
    /// Why the capture on this device broke off, for people; nothing proves absence after that.
    pub broken: Option<String>,
    /// What was found of the needles.
    pub hits: Vec<NeedleHit>,
    /// Packets from or to pods in clear.
    pub clear: Vec<ClearFlow>,
    /// How many further flows in clear are not listed for want of room.
    pub more_clear: u64,
    /// WireGuard between nodes.
    pub wireguard: Vec<WireguardFlow>,
    /// IPsec between nodes.
    #[serde(default)]
    pub esp: Vec<EspFlow>,
}

/// A needle that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NeedleHit {
    /// Position in [`CaptureSpec::needles`].
    pub needle: u32,
    /// In how many packets.
    pub packets: u64,
    /// The first of them.
    pub first: Sighting,
}

/// A packet as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// When, in microseconds of the agent's clock (`Command::Clock`).
    pub at: u64,
    /// Source of the outer IP header, if it is IP.
    pub source: Option<IpAddr>,
    /// Destination of the outer IP header, if it is IP.
    pub destination: Option<IpAddr>,
    /// Whether it left this node; otherwise it came in.
    pub outgoing: bool,
    /// Its length from the IP header on.
    pub length: u32,
    /// Its first bytes from the IP header on, up to 128, in hexadecimal digits.
    pub head: String,
}

/// Packets from or to a pod's address whose headers were readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClearFlow {
    /// From which address.
    pub source: IpAddr,
    /// To which.
    pub destination: IpAddr,
    /// The IP protocol's number: 1 ICMP, 6 TCP, 17 UDP.
    pub protocol: u8,
    /// Whether it was inside an unencrypted tunnel.
    pub tunnel: bool,
    /// Whether it was quoted by an ICMP error: these are the addresses of the packet that the error is about.
    #[serde(default)]
    pub quoted: bool,
    /// How many packets.
    pub packets: u64,
    /// The first of them.
    pub first: Sighting,
}

/// WireGuard datagrams from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireguardFlow {
    /// From which node.
    pub source: IpAddr,
    /// To which.
    pub destination: IpAddr,
    /// Transport data (type 4) that carry something.
    pub transport: u64,
    /// Bytes of ciphertext in them, without WireGuard's 16 bytes of header and 16 of tag.
    pub transport_bytes: u64,
    /// Keepalives: transport data that carry nothing.
    pub keepalives: u64,
    /// Handshake messages (types 1 to 3).
    pub handshakes: u64,
    /// Datagrams on the port that are no WireGuard message.
    pub other: u64,
    /// The messages in [`transport`](Self::transport) by their bytes of ciphertext, if asked for: WireGuard pads what
    /// it carries to a multiple of 16.
    #[serde(default)]
    pub sizes: Vec<MessageSize>,
}

/// How many messages carried so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageSize {
    /// Bytes of ciphertext.
    pub bytes: u64,
    /// How many.
    pub messages: u64,
}

/// IPsec packets (ESP, protocol 50) from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EspFlow {
    /// From which node.
    pub source: IpAddr,
    /// To which.
    pub destination: IpAddr,
    /// How many packets.
    pub packets: u64,
    /// Bytes of ciphertext in them, without ESP's 8 bytes of header and, as with AES-GCM, 8 of nonce and 16 of tag.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_and_needles_are_hexadecimal() {
        let marker: Marker = "000102030405060708090a0b0c0d0eff".parse().expect("a marker");
        assert_eq!(marker.0[15], 0xff);
        let json = serde_json::to_string(&marker).expect("encodes");
        assert_eq!(json, r#""000102030405060708090a0b0c0d0eff""#);
        assert_eq!(serde_json::from_str::<Marker>(&json).expect("decodes"), marker);
        for bad in ["", "00", "zz0102030405060708090a0b0c0d0eff", "äääääääääääääääää"] {
            assert!(bad.parse::<Marker>().is_err(), "{bad:?}");
        }
        assert!(Needle::new(*b"abc").is_none());
        assert_eq!(Needle::text(marker).bytes().len(), 32);
    }
}
