//! A share in per cent, without rounding.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A share between 0 and 100 %, exact to a thousandth of a per cent; written `99.9%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Percent(u32);

impl Percent {
    /// From thousandths of a per cent: 99,900 is 99.9 %. More than 100 % counts as 100 %.
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self(if thousandths > 100_000 { 100_000 } else { thousandths })
    }
    /// As a fraction of one: 0.999.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 100_000.0
    }
    /// Whether `good` of `of` reach the share; 0 of 0 do.
    pub fn is_reached(self, good: u64, of: u64) -> bool {
        u128::from(good) * 100_000 >= u128::from(of) * u128::from(self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match rest {
            0 => write!(f, "{whole}%"),
            rest => write!(f, "{whole}.{}%", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.to_string()
    }
}

impl TryFrom<String> for Percent {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Percent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid percentage {text:?}: expected 0% to 100%, such as 99.9%");
        let number = text.trim().strip_suffix('%').unwrap_or(text).trim();
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || whole.len() > 3 || rest.len() > 3 {
            return Err(wrong());
        }
        let thousandths = format!("{whole}{rest:0<3}").parse::<u32>().map_err(|_| wrong())?;
        match thousandths {
            0..=100_000 => Ok(Self(thousandths)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_it_is_written() {
        for (text, thousandths) in [
            ("99.9%", 99_900),
            ("100%", 100_000),
            ("0%", 0),
            ("99.999%", 99_999),
            ("50.05%", 50_050),
        ] {
            let read: Percent = text.parse().expect(text);
            assert_eq!(read, Percent::from_thousandths(thousandths), "{text}");
            assert_eq!(read.to_string(), text);
        }
        assert_eq!("99.9".parse(), Ok(Percent::from_thousandths(99_900)));
        for wrong in ["101%", "100.001%", "-1%", "many", "", "99.9999%", "1e2%", ".5%"] {
            let error = wrong.parse::<Percent>().expect_err(wrong);
            let expected = format!("invalid percentage {wrong:?}: expected 0% to 100%, such as 99.9%");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_share_is_reached_exactly_at_its_value() {
        let share = Percent::from_thousandths(99_900);
        assert!(share.is_reached(999, 1000));
        assert!(!share.is_reached(998, 1000));
        assert!(!share.is_reached(99, 100));
        assert!(Percent::from_thousandths(100_000).is_reached(u64::MAX, u64::MAX));
    }
}
