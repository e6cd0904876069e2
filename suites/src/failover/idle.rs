//! A connection on which nothing is sent for as long as an outage lasts, as in an application's pool.

use super::{recording::Plan, workload::unknown};
use meshproof_contract::{
    AgentId, CheckContext, Outcome, StreamId, StreamKind, StreamReport, StreamResult, StreamSpec, Tally, Target,
    Verdict, port,
};
use std::time::Duration;

/// Payload of its two pings.
const PING: u32 = 32;
/// Deadline of each: above TCP's first retransmissions.
const DEADLINE: Duration = Duration::from_secs(3);
const SUBJECT: &str = "idle TCP";

/// A connection with a ping at its beginning and one after the idle time.
pub struct IdleConnection<'a> {
    context: &'a CheckContext,
    agent: AgentId,
    id: StreamId,
    idle: Duration,
}

impl<'a> IdleConnection<'a> {
    /// Opens it from the client of these streams to their service.
    pub async fn open(plan: &Plan<'a>, idle: Duration) -> Result<Self, Verdict> {
        let spec = StreamSpec {
            kind: StreamKind::LongTcp {
                to: Target::new(plan.service.address.to_string(), port::TCP),
                payload: PING,
            },
            interval: idle,
            deadline: DEADLINE,
            lifetime: 2 * idle,
        };
        let agent = plan.client.id.clone();
        let started = plan.context.environment.start_stream(&agent, spec).await;
        Ok(Self {
            context: plan.context,
            id: started.map_err(unknown)?,
            agent,
            idle,
        })
    }

    /// Closes it, and judges that its second ping was answered on it.
    pub async fn judge(self, tally: &mut Tally) {
        match self.context.environment.stop_stream(&self.agent, self.id).await {
            Ok(report) => judge(&report, self.idle, tally),
            Err(error) => tally.unknown(format!("{SUBJECT}: {error}")),
        }
    }
}

fn judge(report: &StreamReport, idle: Duration, tally: &mut Tally) {
    let result = |number| report.samples.iter().find(|sample| sample.number == number);
    let seconds = idle.as_secs();
    let expected = format!("a connection that is idle for {seconds} s is answered");
    match [result(0), result(1)].map(|sample| sample.map(|sample| &sample.result)) {
        [Some(StreamResult::Good { .. }), Some(StreamResult::Good { .. })] if report.connections <= 1 => {
            tally.witness(format!("{SUBJECT}: answered after {seconds} s"));
        }
        [Some(StreamResult::Good { .. }), Some(StreamResult::Good { .. })] => {
            tally.finding(SUBJECT, expected, "it had ended, and another connection was answered");
        }
        [
            Some(StreamResult::Good { .. }),
            Some(StreamResult::Bad {
                outcome: Outcome::LocalError { reason },
            }),
        ] => tally.unknown(format!("{SUBJECT}: {reason}")),
        [Some(StreamResult::Good { .. }), Some(StreamResult::Bad { outcome })] => {
            tally.finding(SUBJECT, expected, outcome.to_string());
        }
        [Some(StreamResult::Good { .. }), None] => tally.unknown(format!("{SUBJECT}: not used after {seconds} s")),
        [Some(StreamResult::Bad { .. }) | None, _] => tally.unknown(format!("{SUBJECT}: it was never answered")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::{StreamSample, Timing};

    /// The verdict after pings that were answered (`L`), lost (`.`) or not sent (`?`), on so many connections.
    fn word(pings: &str, connections: u32) -> &'static str {
        let result = |letter| match letter {
            'L' => StreamResult::Good {
                server: None,
                latency: 300,
            },
            '?' => StreamResult::Bad {
                outcome: Outcome::LocalError {
                    reason: "no sockets".to_owned(),
                },
            },
            _ => StreamResult::Bad {
                outcome: Outcome::Timeout {
                    timing: Timing::default(),
                },
            },
        };
        let samples = pings.chars().enumerate().map(|(number, letter)| StreamSample {
            number: number as u64,
            late: 0,
            result: result(letter),
        });
        let report = StreamReport {
            samples: samples.collect(),
            connections,
            ..StreamReport::default()
        };
        let mut tally = Tally::new();
        judge(&report, Duration::from_secs(180), &mut tally);
        tally.verdict().word()
    }

    #[test]
    fn an_idle_connection_must_be_answered_on_itself() {
        assert_eq!(word("LL", 1), "pass");
        assert_eq!(word("LL", 2), "fail", "another connection");
        assert_eq!(word("L.", 1), "fail");
        for unknown in ["L", "L?", ".L", ""] {
            assert_eq!(word(unknown, 1), "inconclusive", "{unknown}");
        }
    }
}
