//! Spacing of the probes of a stream, and how it adapts to what the generator's machine manages.

use std::time::Duration;

/// Spacings of probes: the first, unless the operators configure another, and wider ones for busy machines. An outage
/// is known to twice the spacing.
pub const SPACINGS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];
/// The widest of them.
pub const WIDEST: Duration = SPACINGS[SPACINGS.len() - 1];

/// The next spacing at which a generator with this lag has room, or the widest.
pub fn roomier(lag: u64, than: Duration) -> Duration {
    let mut wider = SPACINGS.into_iter().filter(|spacing| *spacing > than);
    wider
        .find(|spacing| spacing.as_micros() >= u128::from(lag) * 2)
        .unwrap_or(WIDEST)
}

/// The first spacing for which such a lag does not matter, or the widest, since a burst of work passes; none after
/// that.
pub fn wider(lag: u64, than: Duration) -> Option<Duration> {
    let mut wider = SPACINGS.into_iter().filter(|spacing| *spacing > than);
    wider
        .find(|spacing| spacing.as_micros() >= u128::from(lag) * 3 / 2)
        .or((than < WIDEST).then_some(WIDEST))
}

/// The spacing with which to begin, where an agent runs so many streams: some hundred probes a second are what one
/// manages beside others, and what a neighbourhood bears.
pub fn of_streams(streams: usize) -> Duration {
    const STREAMS_AT_NARROWEST: usize = 4;
    let factor = u32::try_from(streams.div_ceil(STREAMS_AT_NARROWEST))
        .unwrap_or(u32::MAX)
        .max(1);
    let wanted = SPACINGS[0].saturating_mul(factor);
    SPACINGS
        .into_iter()
        .find(|spacing| *spacing >= wanted)
        .unwrap_or(WIDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_generator_gets_room_until_there_is_no_more() {
        let ms = Duration::from_millis;
        assert_eq!(wider(11_000, ms(10)), Some(ms(20)));
        assert_eq!(wider(25_000, ms(10)), Some(ms(50)));
        assert_eq!(wider(190_000, ms(10)), Some(ms(200)), "a burst passes");
        assert_eq!(wider(1000, ms(200)), None);
        assert_eq!(roomier(11_000, ms(10)), ms(50));
        assert_eq!(roomier(500_000, ms(10)), ms(200));
    }

    #[test]
    fn many_streams_of_one_agent_are_spaced_more_widely() {
        let ms = Duration::from_millis;
        assert_eq!((of_streams(0), of_streams(4), of_streams(5)), (ms(10), ms(10), ms(20)));
        assert_eq!((of_streams(50), of_streams(1000)), (ms(200), ms(200)));
    }
}
