//! How likely a spread of requests is when each goes to one of several backends by chance: the exact binomial test.
//!
//! Pure. A backend that each of `n` requests reaches with probability `p` gets `k` of them; the two-sided p-value is
//! twice the smaller tail, computed from the distribution itself, without approximation.

/// Logarithms of the factorials of 0 to `n`.
fn log_factorials(n: u32) -> Vec<f64> {
    let mut logs = vec![0.0];
    let mut sum = 0.0;
    for i in 1..=n {
        sum += f64::from(i).ln();
        logs.push(sum);
    }
    logs
}

/// The probability, if each of `n` requests comes with probability `p`, of a number as far from the expected one as `k`
/// or further.
pub fn p_value(n: u32, k: u32, p: f64) -> f64 {
    if n == 0 || p >= 1.0 {
        return if k == n { 1.0 } else { 0.0 };
    }
    let logs = log_factorials(n);
    let term = |i: u32| {
        let (i, n) = (i as usize, n as usize);
        (logs[n] - logs[i] - logs[n - i] + i as f64 * p.ln() + (n - i) as f64 * (1.0 - p).ln()).exp()
    };
    let below: f64 = (0..=k).map(term).sum();
    let above: f64 = (k..=n).map(term).sum();
    (2.0 * below.min(above)).min(1.0)
}

/// The smallest and the largest number that a test at `level` lets pass.
pub fn bounds(n: u32, p: f64, level: f64) -> (u32, u32) {
    let passes = |k: &u32| p_value(n, *k, p) >= level;
    let low = (0..=n).find(passes).unwrap_or(0);
    let high = (0..=n).rev().find(passes).unwrap_or(n);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_the_binomial_distribution() {
        assert!((p_value(10, 0, 0.5) - 2.0 / 1024.0).abs() < 1e-12);
        assert!((p_value(10, 5, 0.5) - 1.0).abs() < 1e-12);
        assert!((p_value(4, 4, 0.25) - 2.0 / 256.0).abs() < 1e-12);
        assert_eq!(p_value(7, 7, 1.0), 1.0);
        assert_eq!(p_value(7, 6, 1.0), 0.0);
    }

    #[test]
    fn ninety_to_ten_is_told_from_half_and_half_with_a_hundred_requests_and_chance_is_not() {
        assert!(p_value(100, 90, 0.5) < 1e-15);
        let (low, high) = bounds(100, 0.5, 1e-6);
        assert!((20..30).contains(&low) && (70..80).contains(&high), "{low} to {high}");
        assert!(p_value(100, low, 0.5) >= 1e-6 && p_value(100, low - 1, 0.5) < 1e-6);
    }

    #[test]
    fn the_false_alarms_of_all_counts_together_stay_below_the_level() {
        let (n, p, level) = (120, 0.25, 1e-4);
        let (low, high) = bounds(n, p, level);
        let logs = log_factorials(n);
        let probability = |k: u32| {
            (logs[n as usize] - logs[k as usize] - logs[(n - k) as usize]
                + f64::from(k) * p.ln()
                + f64::from(n - k) * (1.0 - p).ln())
            .exp()
        };
        let alarm: f64 = (0..=n).filter(|k| *k < low || *k > high).map(probability).sum();
        assert!(alarm > 0.0 && alarm <= level, "{alarm}");
    }
}
