//! The generator of open loops: requests arrive as people do, each at a time of its own.
//!
//! Gaps between arrivals are exponential, from a seed, so that a round can be repeated. The times
//! are fixed before the first request is sent, and latency counts from them: a server that is
//! late cannot make later requests come later (no coordinated omission).
//!
//! It is a program of its own (`load-tests poisson`), so that its processor time is known.

mod client;
mod loops;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub(crate) use crate::poisson::loops::run;

/// What is to be sent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// The server's address
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// The path of every request
    #[arg(long)]
    pub(crate) path: String,
    /// Arrivals a second, on average
    #[arg(long)]
    pub(crate) rate: f64,
    /// For how long requests arrive
    #[arg(long)]
    pub(crate) seconds: u32,
    /// The order of gaps
    #[arg(long)]
    pub(crate) seed: u64,
}

/// One request, in µs since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) planned_us: u64,
    pub(crate) sent_us: u64,
    /// When the first byte of the answer came.
    pub(crate) first_byte_us: u64,
    /// When the last one did.
    pub(crate) done_us: u64,
    /// 0: not answered.
    pub(crate) status: u16,
    /// How long the handler took, as it says; 0 where it does not.
    pub(crate) service_us: u64,
}

/// All requests of a round, in the order of their arrival.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Recorded {
    pub(crate) records: Vec<Record>,
    /// Connections that were needed.
    pub(crate) connections: usize,
}

/// When requests arrive, in µs: a Poisson process of this rate.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "random bits become a fraction, and a time of some seconds becomes µs"
)]
pub(crate) fn arrivals_us(rate: f64, seconds: u32, seed: u64) -> Vec<u64> {
    let mut state = seed;
    let mut at_us = 0.0;
    let mut arrivals = Vec::new();
    loop {
        // In (0, 1], so that its logarithm is finite.
        let fraction = ((next_random(&mut state) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        at_us += -fraction.ln() / rate * 1e6;
        if f64::from(seconds) * 1e6 <= at_us {
            return arrivals;
        }
        arrivals.push(at_us as u64);
    }
}

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_and_the_variance_of_a_poisson_process() {
        let arrivals = arrivals_us(5000.0, 20, 7);
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| f64::from(u32::try_from(pair[1] - pair[0]).unwrap()))
            .collect();
        let count = f64::from(u32::try_from(gaps.len()).unwrap());
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - 200.0).abs() < 4.0, "mean gap: {mean} µs");
        // The deviation of an exponential distribution is its mean.
        assert!((variance.sqrt() - 200.0).abs() < 6.0, "deviation: {} µs", variance.sqrt());
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn a_seed_gives_the_same_arrivals_again() {
        assert_eq!(arrivals_us(100.0, 1, 3), arrivals_us(100.0, 1, 3));
        assert_ne!(arrivals_us(100.0, 1, 3), arrivals_us(100.0, 1, 4));
    }
}
