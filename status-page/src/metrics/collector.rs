//! Families of metrics with their values, as the `prometheus` crate takes them.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};

use crate::snapshot::{BOUNDS_MS, Histogram};
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

/// A family of histograms that were counted elsewhere, which the crate has no type for.
struct Histograms {
    desc: Desc,
    samples: Vec<(Vec<LabelPair>, Histogram)>,
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

    /// Adds a family of histograms, one for each value of its labels. Those that know nothing
    /// are left out.
    pub(super) fn histogram<'s, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        samples: impl IntoIterator<Item = ([&'s str; LABELS], &'s Histogram)>,
    ) {
        let names = labels.iter().map(|&label| label.to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), names, HashMap::new())
            .expect("names are valid");
        let known = samples.into_iter().filter(|(_, histogram)| is_known(histogram));
        let samples = known.map(|(values, histogram)| {
            let pairs = labels.iter().zip(values).map(|(name, value)| label_pair(name, value));
            (pairs.collect(), histogram.clone())
        });
        self.families.push(Box::new(Histograms { desc, samples: samples.collect() }));
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

impl Collector for Histograms {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metrics = self.samples.iter().map(|(labels, histogram)| {
            let mut metric = Metric::from_label(labels.clone());
            metric.set_histogram(cumulative(histogram));
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(metrics.collect());
        vec![family]
    }
}

fn label_pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(printable(value).into_owned());
    pair
}

/// Tells whether there is a count for every bucket.
fn is_known(histogram: &Histogram) -> bool {
    histogram.counts.len() == BOUNDS_MS.len() + 1
}

/// Returns buckets that count what is in those before them, too; bounds and sum in seconds.
///
/// The last bucket, without a bound, is added when the text is written.
fn cumulative(histogram: &Histogram) -> proto::Histogram {
    let mut so_far: u64 = 0;
    let mut buckets = Vec::with_capacity(BOUNDS_MS.len());
    for (bound_ms, count) in BOUNDS_MS.iter().zip(&histogram.counts) {
        so_far = so_far.saturating_add(*count);
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound_ms / 1_000.0);
        bucket.set_cumulative_count(so_far);
        buckets.push(bucket);
    }
    let mut whole = proto::Histogram::default();
    whole.set_sample_count(histogram.counts.iter().copied().fold(0, u64::saturating_add));
    whole.set_sample_sum(histogram.sum_ms / 1_000.0);
    whole.set_bucket(buckets);
    whole
}
