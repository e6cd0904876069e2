//! Whether two sets of samples differ: the Mann-Whitney U test with its effect size, and Holm's correction for
//! several tests. Samples carry weights, so that a thousand requests of which three were lost are two samples and not
//! a thousand.

use std::f64::consts::SQRT_2;

/// A value, and how often it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub value: f64,
    pub times: f64,
}

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Comparison {
    /// Cliff's delta, which is also the rank-biserial correlation: the share of pairs in which the later value is the
    /// larger, less the share in which it is the smaller; from -1 to 1. Of values 0 and 1 it is the difference of
    /// shares.
    pub effect: f64,
    /// Two-sided probability of such an effect without a difference.
    pub p: f64,
}

/// How many samples there are.
pub(super) fn count(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.times).sum()
}

/// The Mann-Whitney U test (Mann and Whitney 1947) in its normal approximation, corrected for ties and continuity. None
/// without samples on both sides.
pub(super) fn mann_whitney(before: &[Sample], after: &[Sample]) -> Option<Comparison> {
    let (n, m) = (count(before), count(after));
    if n <= 0.0 || m <= 0.0 {
        return None;
    }
    let mut all: Vec<(f64, f64, f64)> = before.iter().map(|s| (s.value, s.times, 0.0)).collect();
    all.extend(after.iter().map(|s| (s.value, 0.0, s.times)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Pairs in which the later value is the larger; of equal ones, half.
    let (mut u, mut smaller, mut ties) = (0.0, 0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let (old, new) = group
            .iter()
            .fold((0.0, 0.0), |sum, sample| (sum.0 + sample.1, sum.1 + sample.2));
        u += new * (smaller + old / 2.0);
        smaller += old;
        ties += (old + new).powi(3) - (old + new);
    }
    let total = n + m;
    let mean = n * m / 2.0;
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)).max(1.0));
    let p = if variance > 0.0 {
        let z = ((u - mean).abs() - 0.5).max(0.0) / variance.sqrt();
        libm::erfc(z / SQRT_2)
    } else {
        1.0
    };
    Some(Comparison {
        effect: (u - mean) / mean,
        p,
    })
}

/// The probabilities corrected for their number (Holm 1979), in the order given.
pub(super) fn holm(raw: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by(|a, b| raw[*a].total_cmp(&raw[*b]));
    let mut corrected = vec![1.0; raw.len()];
    let mut least: f64 = 0.0;
    for (done, index) in order.into_iter().enumerate() {
        least = least.max(raw[index] * (raw.len() - done) as f64).min(1.0);
        corrected[index] = least;
    }
    corrected
}

/// The value below which half of the samples are; the middle of two where it is between them.
pub(super) fn median(samples: &[Sample]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| a.value.total_cmp(&b.value));
    let half = count(samples) / 2.0;
    let mut seen = 0.0;
    for (index, sample) in sorted.iter().enumerate() {
        seen += sample.times;
        if seen > half {
            return sample.value;
        }
        if seen == half {
            let next = sorted.get(index + 1).unwrap_or(sample);
            return f64::midpoint(sample.value, next.value);
        }
    }
    f64::NAN
}

/// The mean; of values 0 and 1 it is a share.
pub(super) fn mean(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.value * sample.times).sum::<f64>() / count(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(values: &[f64]) -> Vec<Sample> {
        values
            .iter()
            .map(|value| Sample {
                value: *value,
                times: 1.0,
            })
            .collect()
    }

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-4 * b.abs().max(1e-3), "{a} is not {b}");
    }

    /// R: `wilcox.test(x, y, exact = FALSE)` with x and y of the example in its manual (depression scores).
    #[test]
    fn it_agrees_with_r() {
        let x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let y = [878, 647, 598, 2050, 1060, 1290, 1060, 3140, 1290].map(|thousandths| f64::from(thousandths) / 1000.0);
        let found = mann_whitney(&samples(&y), &samples(&x)).expect("samples");
        // W = 58 of 81 pairs.
        close(found.effect, 2.0 * 58.0 / 81.0 - 1.0);
        close(found.p, 0.132_919);
    }

    /// The example of Mann-Whitney tables: all of one side above all of the other, 4 against 4, W = 16.
    #[test]
    fn complete_separation_has_the_full_effect() {
        let found = mann_whitney(&samples(&[1.0, 2.0, 3.0, 4.0]), &samples(&[5.0, 6.0, 7.0, 8.0])).expect("samples");
        close(found.effect, 1.0);
        // (8 - 0.5) / sqrt(12) = 2.165
        close(found.p, 0.030_383);
    }

    #[test]
    fn equal_values_are_no_difference_and_nothing_is_no_test() {
        let same = samples(&[2.0; 30]);
        assert_eq!(mann_whitney(&same, &same), Some(Comparison { effect: 0.0, p: 1.0 }));
        assert_eq!(mann_whitney(&same, &[]), None);
    }

    #[test]
    fn the_effect_of_shares_is_their_difference() {
        let share = |lost: f64, of: f64| {
            [
                Sample {
                    value: 0.0,
                    times: of - lost,
                },
                Sample {
                    value: 1.0,
                    times: lost,
                },
            ]
        };
        let found = mann_whitney(&share(10.0, 1000.0), &share(40.0, 1000.0)).expect("samples");
        close(found.effect, 0.03);
        assert!(found.p < 1e-4, "{}", found.p);
        close(mean(&share(40.0, 1000.0)), 0.04);
    }

    /// The table of Holm's procedure for 0.01, 0.04, 0.03, 0.005.
    #[test]
    fn several_tests_are_corrected_after_holm() {
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in corrected.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            close(found, expected);
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    #[test]
    fn the_median_is_between_two_in_the_middle() {
        assert_eq!(median(&samples(&[3.0, 1.0, 2.0])), 2.0);
        assert_eq!(median(&samples(&[4.0, 1.0, 2.0, 3.0])), 2.5);
        let weighted = [Sample { value: 1.0, times: 1.0 }, Sample { value: 9.0, times: 5.0 }];
        assert_eq!(median(&weighted), 9.0);
    }

    proptest! {
        #[test]
        fn the_order_of_the_sides_changes_the_sign_only(
            x in prop::collection::vec(0.0..100.0, 1..40), y in prop::collection::vec(0.0..100.0, 1..40)
        ) {
            let one = mann_whitney(&samples(&x), &samples(&y)).expect("samples");
            let other = mann_whitney(&samples(&y), &samples(&x)).expect("samples");
            prop_assert!((one.effect + other.effect).abs() < 1e-9 && (one.p - other.p).abs() < 1e-9);
            prop_assert!((-1.0..=1.0).contains(&one.effect) && (0.0..=1.0).contains(&one.p));
        }

        #[test]
        fn a_weight_is_so_many_samples(values in prop::collection::vec(0u8..5, 2..20), times in 1u8..5) {
            let weighted: Vec<Sample> = values.iter()
                .map(|value| Sample { value: (*value).into(), times: times.into() }).collect();
            let repeated: Vec<Sample> = weighted.iter()
                .flat_map(|sample| vec![Sample { times: 1.0, ..*sample }; times.into()]).collect();
            let other = samples(&[1.0, 2.0, 2.0, 4.0]);
            let (a, b) = (mann_whitney(&other, &weighted), mann_whitney(&other, &repeated));
            let (a, b) = (a.expect("samples"), b.expect("samples"));
            prop_assert!((a.effect - b.effect).abs() < 1e-9 && (a.p - b.p).abs() < 1e-9);
        }
    }
}
