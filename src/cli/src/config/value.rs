//! Values of claims in `meshproof.yaml`: what may be written, and what it means.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// Whether a feature is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct YesNo(pub bool);

/// How traffic between nodes is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Encryption {
    Wireguard,
    Ipsec,
    /// Traffic is readable on the wire, which a check verifies.
    None,
}

/// Cilium's `enable-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    Default,
    Always,
    Never,
}

impl Mode {
    const WORDS: [(&'static str, Mode); 3] = [
        ("default", Mode::Default),
        ("always", Mode::Always),
        ("never", Mode::Never),
    ];
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Word;
        impl de::Visitor<'_> for Word {
            type Value = Mode;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("default, always, never, true or false")
            }
            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Mode, E> {
                Ok(if yes { Mode::Default } else { Mode::Never })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
                let found = Mode::WORDS.iter().find(|(word, _)| *word == text);
                found
                    .map(|(_, mode)| *mode)
                    .ok_or_else(|| E::unknown_variant(text, &["default", "always", "never"]))
            }
        }
        from.deserialize_any(Word)
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mode".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words = Self::WORDS.map(|(word, _)| word);
        schemars::json_schema!({
            "description": "Cilium's `enable-policy`; `true` is `default`, `false` is `never`.",
            "anyOf": [{"enum": words}, {"type": "boolean"}],
        })
    }
}

/// The word that a claim has in the facts, in reports and where the live configuration is read.
pub trait ClaimWord {
    /// The word.
    fn word(&self) -> &'static str;
}

impl ClaimWord for YesNo {
    fn word(&self) -> &'static str {
        if self.0 { "true" } else { "false" }
    }
}

impl ClaimWord for Encryption {
    fn word(&self) -> &'static str {
        match self {
            Encryption::Wireguard => "wireguard",
            Encryption::Ipsec => "ipsec",
            Encryption::None => "none",
        }
    }
}

impl ClaimWord for Mode {
    fn word(&self) -> &'static str {
        let found = Mode::WORDS.iter().find(|(_, mode)| mode == self);
        found.expect("every mode has a word").0
    }
}
