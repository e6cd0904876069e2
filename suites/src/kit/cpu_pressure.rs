//! Is a machine too busy to time a network from it?

use meshproof_contract::Distribution;
use std::time::Duration;

/// Share of a measurement during which a task may wait for a CPU before times measured there say nothing: on an idle
/// machine it is near zero, on one with a runnable task too many for each CPU it is near one.
const TOLERATED: f64 = 0.5;

/// Beyond this lag behind its own schedule, in microseconds, an agent is so short of CPU that datagrams are lost in
/// queues of its own.
pub const LAG: u64 = 50_000;

/// Why times measured there say nothing, given for how many microseconds of at least `over` some task waited for a CPU.
pub fn starved(micros: Option<u64>, over: Duration) -> Option<String> {
    let share = micros? as f64 / over.as_micros() as f64;
    (share > TOLERATED).then(|| {
        format!(
            "the agent's machine was short of CPU: tasks waited for one during {:.0} % of the measurement",
            100.0 * share.min(1.0)
        )
    })
}

/// How far behind its own schedule an agent fell, in microseconds, for people.
pub fn fell_behind(lag: u64) -> String {
    format!(
        "the agent fell behind its own schedule by up to {:.0} ms",
        lag as f64 / 1000.0
    )
}

/// Why a 99th percentile over the limit may be the machine's doing, by the agent's lag and by how long some task waited
/// for a CPU, both in microseconds. What is slow by itself is slow for the fastest answer, too; a busy machine delays
/// some.
pub fn delays(
    times: &Distribution,
    lag: u64,
    starved_for: Option<u64>,
    over: Duration,
    limit: Duration,
) -> Option<String> {
    let limit = limit.as_micros() as u64;
    if times.min > limit {
        return None;
    }
    if times.p99.saturating_sub(lag) <= limit {
        return Some(fell_behind(lag));
    }
    starved(starved_for, over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_and_large_share_excuses() {
        let over = Duration::from_secs(2);
        assert_eq!(starved(None, over), None);
        assert_eq!(starved(Some(400_000), over), None);
        assert!(starved(Some(1_900_000), over).expect("busy").contains("95 %"));
    }
}
