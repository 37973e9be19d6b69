//! What is measured of a server in one round, each with a name, a unit and a better side.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The figures of one round.
pub(crate) type Figures = BTreeMap<Figure, f64>;

/// One figure. Latency is counted from when a request should have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    /// Answers with the expected status, a second.
    RequestsPerSecond,
    /// Processor time of server and worker together, a request.
    CpuPerRequestUs,
    ServerCpuUs,
    WorkerCpuUs,
    GeneratorCpuUs,
    LatencyP50Ms,
    LatencyP99Ms,
    LatencyP999Ms,
    /// Latency without the time the handler took.
    WaitP50Ms,
    WaitP99Ms,
    WaitP999Ms,
    /// Latency in an ideal queue with the same arrivals and the same handler times.
    IdealP50Ms,
    IdealP99Ms,
    IdealP999Ms,
    /// 99th percentile of latency over that of the ideal queue.
    P99OverIdeal,
    /// Answers a second over the capacity that was measured before.
    GoodputOverCapacity,
    /// Requests that were answered with 503.
    Refused,
    /// Requests that were answered with another status than expected, or not at all.
    Failed,
    /// How often something was broken.
    Faults,
    /// Memory of the process that serves clients, without segments.
    ProxyMemoryMib,
    /// Memory of all processes of the server, workers left out, without segments.
    ServerMemoryMib,
    BytesPerConnection,
    /// Memory of all processes after the load, workers and segments included.
    MemoryMib,
}

impl Figure {
    /// Whether more of it is better.
    pub(crate) fn is_better_higher(self) -> bool {
        matches!(self, Self::RequestsPerSecond | Self::GoodputOverCapacity)
    }

    /// The head of its column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests/s",
            Self::CpuPerRequestUs => "CPU µs a request",
            Self::ServerCpuUs => "of it server",
            Self::WorkerCpuUs => "of it worker",
            Self::GeneratorCpuUs => "generator µs",
            Self::LatencyP50Ms => "p50 ms",
            Self::LatencyP99Ms => "p99 ms",
            Self::LatencyP999Ms => "p99.9 ms",
            Self::WaitP50Ms => "wait p50 ms",
            Self::WaitP99Ms => "wait p99 ms",
            Self::WaitP999Ms => "wait p99.9 ms",
            Self::IdealP50Ms => "ideal p50 ms",
            Self::IdealP99Ms => "ideal p99 ms",
            Self::IdealP999Ms => "ideal p99.9 ms",
            Self::P99OverIdeal => "p99 / ideal",
            Self::GoodputOverCapacity => "goodput / capacity",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Faults => "faults",
            Self::ProxyMemoryMib => "proxy MiB at rest",
            Self::ServerMemoryMib => "server MiB at rest",
            Self::BytesPerConnection => "bytes a connection",
            Self::MemoryMib => "MiB of all",
        }
    }

    /// The number as a table shows it: three digits that mean something.
    pub(crate) fn show(self, value: f64) -> String {
        let digits = match value.abs() {
            size if 100.0 <= size => 0,
            size if 10.0 <= size => 1,
            0.0 => 0,
            _ => 2,
        };
        let is_count = matches!(self, Self::Refused | Self::Failed | Self::Faults);
        let digits = if is_count { 0 } else { digits };
        format!("{value:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_three_digits() {
        assert_eq!(Figure::RequestsPerSecond.show(51_234.6), "51235");
        assert_eq!(Figure::CpuPerRequestUs.show(12.34), "12.3");
        assert_eq!(Figure::P99OverIdeal.show(1.074), "1.07");
        assert_eq!(Figure::Failed.show(3.0), "3");
    }
}
