//! What has to come out of a scenario, and whether it did. Pure.
//!
//! A criterion compares the median of one figure with a limit: a plain number, or a multiple of
//! the best that other servers did, or of the same server at another point.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::figure::Figure;
use crate::server::ServerName;
use crate::statistics::Spread;

/// One line of what has to be so.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Criterion {
    /// In words, for the report.
    pub(crate) text: String,
    pub(crate) figure: Figure,
    pub(crate) server: ServerName,
    /// The point of a number that is varied.
    pub(crate) at: Option<u32>,
    pub(crate) at_most: Option<f64>,
    pub(crate) at_least: Option<f64>,
    /// The limit is a multiple of the best of these.
    #[serde(default)]
    pub(crate) of_best: Vec<ServerName>,
    /// The limit is a multiple of the same server's figure at this point.
    pub(crate) of_point: Option<u32>,
    /// Whether it is enough that the ranges of the rounds overlap.
    #[serde(default)]
    pub(crate) within_spread: bool,
    /// Whether it says nothing where the generator was the limit.
    #[serde(default)]
    pub(crate) unless_generator_limited: bool,
}

/// Who was measured, as a criterion asks for it.
pub(crate) trait Measured {
    /// The figure of a server at a point; none where it was not measured.
    fn spread(&self, server: ServerName, at: Option<u32>, figure: Figure) -> Option<Spread>;
    /// Whether the generator was the limit there.
    fn is_generator_limited(&self, server: ServerName, at: Option<u32>) -> bool;
}

/// How a criterion came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Pass,
    Fail,
    /// Not all of the servers were measured, or the generator was the limit.
    NotDecided,
}

/// A criterion with its figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) text: String,
    pub(crate) outcome: Outcome,
    /// What was measured: the figure, or its multiple of what it is compared with.
    pub(crate) value: Option<f64>,
    pub(crate) limit: f64,
}

impl Criterion {
    /// Refuses one that speaks of what is not measured.
    pub(crate) fn check(&self, servers: &[ServerName], points: &[Option<u32>]) -> Result<()> {
        let Self { at_most, at_least, .. } = self;
        ensure!(at_most.is_some() != at_least.is_some(), "{}: one of at-most, at-least", self.text);
        for server in self.of_best.iter().chain([&self.server]) {
            ensure!(servers.contains(server), "{}: {} is not measured", self.text, server.name());
        }
        for at in [Some(self.at), self.of_point.map(Some)].into_iter().flatten() {
            ensure!(points.contains(&at), "{}: there is no point {at:?}", self.text);
        }
        Ok(())
    }

    /// Says how it came out.
    pub(crate) fn judge(&self, measured: &impl Measured) -> Verdict {
        let limit = self.at_most.or(self.at_least).unwrap_or_default();
        let mut verdict =
            Verdict { text: self.text.clone(), outcome: Outcome::NotDecided, value: None, limit };
        let Some(own) = measured.spread(self.server, self.at, self.figure) else { return verdict };
        let Some(other) = self.other(measured) else { return verdict };
        verdict.value = Some(own.median / other.median);
        // A round that was too short for the kernel's ticks says nothing about a ratio.
        let is_too_short = !self.of_best.is_empty() && own.median * other.median == 0.0;
        let is_silenced =
            is_too_short || self.unless_generator_limited && self.is_limited(measured);
        if !is_silenced {
            let is_met = if self.at_most.is_some() {
                self.bound(own.median, own.min) <= limit * self.bound(other.median, other.max)
            } else {
                self.bound(own.median, own.max) >= limit * self.bound(other.median, other.min)
            };
            verdict.outcome = if is_met { Outcome::Pass } else { Outcome::Fail };
        }
        verdict
    }

    fn is_limited(&self, measured: &impl Measured) -> bool {
        let servers = self.of_best.iter().chain([&self.server]);
        servers.into_iter().any(|server| measured.is_generator_limited(*server, self.at))
    }

    /// The median, or the friendlier end of the range where a spread counts.
    fn bound(&self, median: f64, end: f64) -> f64 {
        if self.within_spread { end } else { median }
    }

    /// What the figure is compared with: 1 where the limit is a plain number.
    fn other(&self, measured: &impl Measured) -> Option<Spread> {
        if let Some(point) = self.of_point {
            return measured.spread(self.server, Some(point), self.figure);
        }
        if self.of_best.is_empty() {
            return Some(Spread { median: 1.0, min: 1.0, max: 1.0 });
        }
        let spreads = self.of_best.iter();
        let spreads = spreads.map(|server| measured.spread(*server, self.at, self.figure));
        let all: Vec<Spread> = spreads.collect::<Option<_>>()?;
        let order = |one: &Spread, other: &Spread| one.median.total_cmp(&other.median);
        if self.figure.is_better_higher() {
            all.into_iter().max_by(order)
        } else {
            all.into_iter().min_by(order)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processor time: Ostler 6 to 8, nginx 10 to 14, HAProxy 12.
    struct Example {
        is_limited: bool,
    }

    impl Measured for Example {
        fn spread(&self, server: ServerName, at: Option<u32>, _: Figure) -> Option<Spread> {
            let (median, min, max) = match (server, at) {
                (ServerName::Ostler, None) => (7.0, 6.0, 8.0),
                (ServerName::Ostler, Some(_)) => (14.0, 14.0, 14.0),
                (ServerName::Nginx, None) => (12.0, 10.0, 14.0),
                (ServerName::Haproxy, None) => (10.0, 10.0, 10.0),
                _ => return None,
            };
            Some(Spread { median, min, max })
        }

        fn is_generator_limited(&self, server: ServerName, _: Option<u32>) -> bool {
            self.is_limited && server == ServerName::Ostler
        }
    }

    #[test]
    fn a_cost_is_compared_with_the_lowest_of_the_others() {
        let best = "of-best = ['nginx', 'haproxy']";
        check(&format!("at-most = 0.7\n{best}"), Outcome::Pass, Some(0.7));
        check(&format!("at-most = 0.65\n{best}"), Outcome::Fail, Some(0.7));
        check(&format!("at-most = 0.65\nwithin-spread = true\n{best}"), Outcome::Pass, Some(0.7));
    }

    #[test]
    fn a_rate_is_compared_with_the_highest_of_the_others() {
        let text = "at-least = 0.5\nof-best = ['nginx', 'haproxy']";
        let criterion = criterion(text, "requests-per-second");
        let verdict = criterion.judge(&Example { is_limited: false });
        assert_eq!((verdict.outcome, verdict.value), (Outcome::Pass, Some(7.0 / 12.0)));
    }

    #[test]
    fn a_limit_may_be_a_number_or_another_point() {
        check("at-most = 7.0", Outcome::Pass, Some(7.0));
        check("at-most = 6.9", Outcome::Fail, Some(7.0));
        check("at-most = 0.5\nof-point = 1", Outcome::Pass, Some(0.5));
    }

    #[test]
    fn nothing_is_decided_without_the_others_or_behind_a_slow_generator() {
        check("at-most = 0.7\nof-best = ['apache-event']", Outcome::NotDecided, None);
        let criterion = criterion("at-least = 1\nunless-generator-limited = true", "failed");
        let verdict = criterion.judge(&Example { is_limited: true });
        assert_eq!(verdict.outcome, Outcome::NotDecided);
    }

    #[track_caller]
    fn check(text: &str, outcome: Outcome, value: Option<f64>) {
        let verdict = criterion(text, "cpu-per-request-us").judge(&Example { is_limited: false });
        assert_eq!((verdict.outcome, verdict.value), (outcome, value), "{text}");
    }

    fn criterion(text: &str, figure: &str) -> Criterion {
        let head = format!("text = 'x'\nserver = 'ostler'\nfigure = '{figure}'\n");
        toml::from_str(&format!("{head}{text}")).unwrap()
    }
}
