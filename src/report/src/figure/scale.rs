//! One unit for all values of a figure, so that they can be compared without their units.

use meshproof_contract::{Unit, text};

/// A unit and how values become it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    unit: Unit,
    divisor: f64,
    /// Digits after the point; none for as many as the value needs.
    decimals: Option<usize>,
    /// The unit's abbreviation; empty for counts and ratios.
    pub(crate) symbol: &'static str,
}

impl Scale {
    /// The scale that keeps the largest of these values readable; none when their units differ or there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = (f64, Unit)>) -> Option<Self> {
        let mut values = values.into_iter();
        let (mut largest, unit) = values.next()?;
        for (value, other) in values {
            if other != unit {
                return None;
            }
            largest = largest.max(value);
        }
        let in_micros = match unit {
            Unit::Microseconds => 1.0,
            Unit::Milliseconds => 1e3,
            Unit::Seconds => 1e6,
            Unit::Bytes | Unit::Count | Unit::Ratio => {
                return Some(Self {
                    unit,
                    divisor: 1.0,
                    decimals: (unit == Unit::Bytes).then_some(0),
                    symbol: unit.symbol(),
                });
            }
        };
        let (micros, target) = match largest * in_micros {
            micros if micros < 1e3 => (1.0, Unit::Microseconds),
            micros if micros < 1e6 => (1e3, Unit::Milliseconds),
            _ => (1e6, Unit::Seconds),
        };
        let divisor = micros / in_micros;
        let whole = target == Unit::Microseconds || largest / divisor >= 100.0;
        Some(Self {
            unit,
            divisor,
            decimals: Some(if whole { 0 } else { 1 }),
            symbol: target.symbol(),
        })
    }

    /// The value as a number of this scale, short enough for a cell; none for another unit.
    pub(crate) fn number(&self, value: f64, unit: Unit) -> Option<String> {
        let value = value / self.divisor;
        (unit == self.unit).then(|| match self.decimals {
            Some(decimals) => format!("{value:.decimals$}"),
            None => text::significant(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_share_the_unit_of_the_largest() {
        let micros = |value: f64| (value, Unit::Microseconds);
        let scale = Scale::of([micros(102.0), micros(226_900.0)]).expect("one unit");
        assert_eq!(scale.symbol, "ms");
        assert_eq!(scale.number(102.0, Unit::Microseconds).as_deref(), Some("0"));
        assert_eq!(scale.number(226_900.0, Unit::Microseconds).as_deref(), Some("227"));
        let scale = Scale::of([micros(102.0), micros(2_000.0)]).expect("one unit");
        let numbers = [102.0, 2_000.0].map(|value| scale.number(value, Unit::Microseconds));
        assert_eq!(numbers, ["0.1", "2.0"].map(|number| Some(number.to_owned())));
        let bytes = Scale::of([(1420.0, Unit::Bytes)]).expect("one unit");
        assert_eq!(bytes.number(1420.0, Unit::Bytes).as_deref(), Some("1420"));
        assert_eq!(Scale::of([micros(1.0), (1.0, Unit::Bytes)]), None);
        assert_eq!(Scale::of([]), None);
    }
}
