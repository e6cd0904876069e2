//! Synthetic samples: every figure worked out by hand.

use super::*;
use meshproof_contract::{Outcome, Timing};

const DT: u64 = 10_000;
const START: u64 = 1_000_000;

/// `L` answered by infra, `R` by apps, `.` lost, `?` without an outcome yet; each answer takes 2 ms.
fn series(text: &str) -> Series {
    let identity = |cluster: &str| Identity {
        cluster: cluster.to_owned(),
        node: format!("{cluster}-1"),
        namespace: "meshproof".to_owned(),
        pod: format!("backend-{cluster}"),
    };
    let result = |letter| match letter {
        'L' | 'R' => StreamResult::Good {
            server: Some(u32::from(letter == 'R')),
            latency: 2000,
        },
        _ => StreamResult::Bad {
            outcome: Outcome::Timeout {
                timing: Timing::default(),
            },
        },
    };
    let mut series = Series::default();
    series.add(StreamReport {
        start: START,
        interval: DT,
        servers: vec![identity("infra"), identity("apps")],
        samples: text
            .chars()
            .enumerate()
            .filter(|(_, letter)| *letter != '?')
            .map(|(number, letter)| StreamSample {
                number: number as u64,
                late: 0,
                result: result(letter),
            })
            .collect(),
        ..StreamReport::default()
    });
    series
}

#[test]
fn an_outage_is_an_interval_around_its_losses() {
    let outages = series("LL...LLL.LL").outages(0);
    assert_eq!(outages.len(), 2);
    assert_eq!(
        outages[0],
        Outage {
            first: START + 2 * DT,
            last: START + 4 * DT,
            losses: 3,
            at_least: 2 * DT,
            at_most: Some(4 * DT),
        }
    );
    assert_eq!((outages[1].at_least, outages[1].at_most), (0, Some(2 * DT)));
}

#[test]
fn an_outage_that_did_not_end_has_no_upper_bound() {
    let outages = series("LL..").outages(0);
    assert_eq!(outages[0].at_least, DT);
    assert_eq!(outages[0].at_most, None);
}

#[test]
fn the_four_figures_differ_where_a_stream_flaps() {
    let figures = series("LL..L.LLL...LLL").figures(0);
    assert_eq!((figures.sent, figures.lost), (15, 6));
    assert_eq!(figures.longest.map(|outage| outage.losses), Some(3));
    assert_eq!(figures.loss_derived, 6 * DT);
    assert_eq!(figures.first_to_last, 9 * DT, "from number 2 to number 11");
    assert_eq!(
        figures.longest_gap,
        4 * DT,
        "from the answer of number 8 to that of number 12"
    );
}

#[test]
fn what_was_before_the_event_does_not_count() {
    let series = series("...LLLL.LL");
    let event = START + 3 * DT;
    assert_eq!(series.figures(event).lost, 1);
    assert_eq!(series.last_loss(event), Some(START + 7 * DT));
    assert_eq!(series.last_loss(START + 8 * DT), None);
    assert_eq!(series.kinds(event).values().sum::<u64>(), 1);
}

#[test]
fn the_first_remote_and_the_last_stale_answer_are_found() {
    let series = series("LLLL..RRRRLRLLLL");
    let event = START + 4 * DT;
    let remote = |server: &Identity| server.cluster == "apps";
    let local = |server: &Identity| server.cluster == "infra";
    assert_eq!(series.first_answer(event, remote), Some(START + 6 * DT + 2000));
    assert_eq!(series.last_answered(event, remote), Some(START + 11 * DT));
    let back = START + 10 * DT;
    assert_eq!(series.first_answer(back, local), Some(back + 2000));
    assert_eq!(series.by_cluster(event)["apps"], 5);
    assert_eq!(
        series.last_server(event).map(|server| server.cluster.as_str()),
        Some("infra")
    );
}

#[test]
fn a_stream_is_stable_when_enough_in_a_row_are_good_and_fit() {
    let stream = series("LL..RRR");
    assert!(stream.is_stable(START, 3, |server| server.is_some_and(|server| server.cluster == "apps")));
    assert!(!stream.is_stable(START, 4, |_| true), "the fourth last is a loss");
    assert!(!stream.is_stable(START + 5 * DT, 3, |_| true), "only two since then");
    assert!(series("LL...").is_silent(START, 3));
    assert!(!series("LL...L").is_silent(START, 1));
}

#[test]
fn what_has_no_outcome_yet_may_still_be_lost() {
    let stream = series("..RRR?RRR");
    assert!(stream.is_stable(START, 3, |_| true), "of those before it");
    assert!(
        !stream.is_stable(START + 3 * DT, 3, |_| true),
        "none of those behind it counts"
    );
    assert!(series("RRR...?R").is_silent(START, 3));
    assert_eq!(stream.newest(), Some(START + 4 * DT));
    assert_eq!(series("?").newest(), None);
}

#[test]
fn reports_add_up_and_late_samples_find_their_place() {
    let mut whole = series("LL");
    let mut late = StreamReport {
        start: START,
        interval: DT,
        lag: 700,
        ..StreamReport::default()
    };
    for (number, good) in [(3, true), (2, false)] {
        late.samples.push(StreamSample {
            number,
            late: 0,
            result: if good {
                StreamResult::Good {
                    server: None,
                    latency: 1,
                }
            } else {
                StreamResult::Bad {
                    outcome: Outcome::Timeout {
                        timing: Timing::default(),
                    },
                }
            },
        });
    }
    whole.add(late);
    assert_eq!(whole.figures(0).lost, 1);
    assert_eq!(whole.lag, 700);
    assert_eq!(whole.newest(), Some(START + 3 * DT));
}

#[test]
fn what_is_sent_late_counts_from_when_it_was_sent() {
    let mut stalled = series("LL");
    let sample = |number: u64, late: u64, good: bool| StreamSample {
        number,
        late: late as u32,
        result: if good {
            StreamResult::Good {
                server: None,
                latency: late as u32 + 2000,
            }
        } else {
            StreamResult::Bad {
                outcome: Outcome::Timeout {
                    timing: Timing::default(),
                },
            }
        },
    };
    let not_sent = StreamSample {
        number: 3,
        late: 0,
        result: StreamResult::Bad {
            outcome: crate::testing::local_error(),
        },
    };
    stalled.add(StreamReport {
        start: START,
        interval: DT,
        // Due at 2 DT, sent at 42 DT; lost, as is number 43. Number 44 is answered.
        samples: vec![
            sample(2, 40 * DT, false),
            not_sent,
            sample(43, 0, false),
            sample(44, 0, true),
        ],
        ..StreamReport::default()
    });
    let outage = stalled.outages(0)[0];
    assert_eq!(
        (outage.losses, outage.at_least),
        (2, DT),
        "what was not sent is no loss"
    );
    assert_eq!(outage.at_most, Some(43 * DT), "from number 1 to number 44");
    assert_eq!(stalled.resolution(0), 41 * DT);
    assert_eq!(stalled.not_sent(0).len(), 1);
    assert_eq!(stalled.answered_after(START + 43 * DT), Some(START + 44 * DT));
}

#[test]
fn a_probe_that_was_sent_after_the_next_one_makes_no_negative_time() {
    let mut series = series("L..LLLL");
    for (number, late) in [(1, 3 * DT), (3, 0), (0, 5 * DT)] {
        series.samples.get_mut(&number).expect("a sample").late = late;
    }
    let figures = series.figures(0);
    assert_eq!((figures.lost, figures.longest.expect("an outage").at_least), (2, 0));
}
