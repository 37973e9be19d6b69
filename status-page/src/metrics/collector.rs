//! Families of metrics with their values, as the `prometheus` crate writes them.
//!
//! They are made for one text and thrown away, so there is no registry, and no metric that would
//! be found by its labels: with hundreds of routes that is most of what a scrape would cost.

use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

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

/// All families of one snapshot.
#[derive(Default)]
pub(super) struct SnapshotCollector {
    families: Vec<MetricFamily>,
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
        let metrics = samples.into_iter().map(|sample| {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(sample.value);
            let mut metric = Metric::from_label(label_pairs(labels, sample.labels));
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// Adds a family of values that only go up.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let metrics = samples.into_iter().map(|sample| {
            let mut counter = proto::Counter::default();
            counter.set_value(sample.value.max(0.0));
            let mut metric = Metric::from_label(label_pairs(labels, sample.labels));
            metric.set_counter(counter);
            metric
        });
        self.add(name, help, MetricType::COUNTER, metrics.collect());
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
        let known = samples.into_iter().filter(|(_, histogram)| is_known(histogram));
        let metrics = known.map(|(values, histogram)| {
            let values = sample(values, 0.0).labels;
            let mut metric = Metric::from_label(label_pairs(&labels, values));
            metric.set_histogram(cumulative(histogram));
            metric
        });
        self.add(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    /// Adds a family, unless it is empty: there is no text for those.
    ///
    /// Of series with the same labels, such as those of a server that an origin names twice, only
    /// one is told: Prometheus refuses a text in which one comes twice.
    fn add(&mut self, name: &str, help: &str, kind: MetricType, mut metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        metrics.sort_by(|one, other| values(one).cmp(values(other)));
        metrics.dedup_by(|one, other| one.get_label() == other.get_label());
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }

    /// Returns the text of all families, by name.
    pub(super) fn into_text(mut self) -> String {
        self.families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new()
            .encode_to_string(&self.families)
            .expect("every family has a name and a sample")
    }
}

fn values(metric: &Metric) -> impl Iterator<Item = &str> {
    metric.get_label().iter().map(LabelPair::value)
}

/// Puts names and values together, sorted by name.
fn label_pairs(names: &[&str], values: Vec<String>) -> Vec<LabelPair> {
    let pairs = names.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value);
        pair
    });
    let mut pairs: Vec<LabelPair> = pairs.collect();
    pairs.sort_by(|one, other| one.name().cmp(other.name()));
    pairs
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_told_once_and_an_empty_family_not_at_all() {
        let mut metrics = SnapshotCollector::default();
        metrics.gauge(
            "b",
            "Help.",
            &["z", "a"],
            [sample(["1", "2"], 3.0), sample(["1", "2"], 4.0)],
        );
        metrics.counter("a_total", "Help.", &[], [sample([], 1.5)]);
        metrics.gauge("empty", "Help.", &[], []);
        let expected = "# HELP a_total Help.\n# TYPE a_total counter\na_total 1.5\n\
                        # HELP b Help.\n# TYPE b gauge\nb{a=\"2\",z=\"1\"} 3\n";
        assert_eq!(metrics.into_text(), expected);
    }
}
