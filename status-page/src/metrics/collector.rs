//! Families of metrics with their values, as the `prometheus` crate takes them.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};

use crate::units::printable;

/// One value with the values of its family's labels.
#[derive(Debug)]
pub(super) struct Sample {
    labels: Vec<String>,
    value: f64,
}

/// Makes a sample.
pub(super) fn sample<const LABELS: usize>(labels: [&str; LABELS], value: f64) -> Sample {
    Sample { labels: labels.iter().map(|label| printable(label).into_owned()).collect(), value }
}

/// Turns a count into the number Prometheus keeps.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// All families of one snapshot.
#[derive(Default)]
pub(super) struct SnapshotCollector {
    families: Vec<Box<dyn Collector>>,
}

impl SnapshotCollector {
    /// Adds a family of values that go up and down.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let family = GaugeVec::new(Opts::new(name, help), labels).expect("names are valid");
        for sample in samples {
            family.with_label_values(&sample.labels).set(sample.value);
        }
        self.families.push(Box::new(family));
    }

    /// Adds a family of values that only go up.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let family = CounterVec::new(Opts::new(name, help), labels).expect("names are valid");
        for sample in samples {
            family.with_label_values(&sample.labels).inc_by(sample.value.max(0.0));
        }
        self.families.push(Box::new(family));
    }

    /// Returns the text of all families, by name.
    pub(super) fn into_text(self) -> String {
        let registry = Registry::new();
        registry.register(Box::new(self)).expect("each family has its own name");
        TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("families without samples are left out by the registry")
    }
}

impl Collector for SnapshotCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().flat_map(|family| family.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families.iter().flat_map(|family| family.collect()).collect()
    }
}
