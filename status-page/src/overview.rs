//! The document of `?history`: what is kept of the past, in a line that fits on a page.

use serde::Serialize;

use crate::moment::UnixTime;
use crate::snapshot::Event;
use crate::trends::Step;

/// Most steps of a line: more are not seen on a page.
const MAX_STEPS: u64 = 720;

/// Seconds of the shortest step.
const MIN_STEP_S: u64 = 60;

/// All pools together in a minute or so, in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// When it was written: at its end.
    pub at: UnixTime,
    /// Most claimed rows.
    pub busy: u64,
    /// Most requests that waited.
    pub queued: u64,
    /// Requests ended.
    pub requests: u64,
    /// Of these, answered with 500 to 599.
    pub errors: u64,
    /// Requests shed.
    pub shed: u64,
}

/// What is kept of the past.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overview {
    /// The first moment that is kept; `None`: nothing is.
    pub from: Option<UnixTime>,
    /// The last one.
    pub until: Option<UnixTime>,
    /// Bytes it has on disk.
    pub bytes: u64,
    /// Moments that are kept.
    pub frames: u64,
    /// Seconds of a step of the lines below, of which the first begins at `start`.
    pub step_s: u64,
    /// Where the lines begin.
    pub start: UnixTime,
    /// Most claimed rows of a step; `None`: nothing was recorded.
    pub busy: Vec<Option<u64>>,
    /// Most requests that waited.
    pub queued: Vec<Option<u64>>,
    /// Requests ended.
    pub requests: Vec<Option<u64>>,
    /// Of these, answered with 500 to 599.
    pub errors: Vec<Option<u64>>,
    /// Requests shed.
    pub shed: Vec<Option<u64>>,
    /// The last events, the latest first.
    pub events: Vec<Event>,
}

impl Summary {
    /// Sums up steps that follow each other.
    pub fn of(at: UnixTime, steps: &[Step]) -> Self {
        let mut summary = Self { at, ..Self::default() };
        for step in steps {
            let pools = || step.pools.values();
            summary.join(&Self {
                at,
                busy: pools().map(|pool| pool.busy).fold(0, u64::saturating_add),
                queued: pools().map(|pool| pool.queued).fold(0, u64::saturating_add),
                requests: step.requests,
                errors: step.errors,
                shed: pools().map(|pool| pool.shed).fold(0, u64::saturating_add),
            });
        }
        summary
    }

    fn join(&mut self, other: &Self) {
        self.busy = self.busy.max(other.busy);
        self.queued = self.queued.max(other.queued);
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.shed = self.shed.saturating_add(other.shed);
    }
}

impl Overview {
    /// Draws the lines between the first and the last moment that are kept.
    pub fn new<'s>(
        (from, until): (UnixTime, UnixTime),
        summaries: impl Iterator<Item = &'s Summary>,
    ) -> Self {
        let seconds = until.ms_since(from) / 1_000;
        let step_s = (seconds / (MAX_STEPS - 1)).next_multiple_of(MIN_STEP_S).max(MIN_STEP_S);
        let step_ms = step_s * 1_000;
        let start = UnixTime::from_ms(from.ms / step_ms * step_ms);
        let steps = usize::try_from(until.ms_since(start) / step_ms + 1).unwrap_or(0);
        let mut line: Vec<Option<Summary>> = vec![None; steps];
        for summary in summaries.filter(|summary| (from..=until).contains(&summary.at)) {
            let place = usize::try_from(summary.at.ms_since(start) / step_ms).unwrap_or(steps);
            if let Some(point) = line.get_mut(place) {
                point.get_or_insert_default().join(summary);
            }
        }
        let draw = |value: fn(&Summary) -> u64| {
            line.iter().map(|point| point.as_ref().map(value)).collect()
        };
        Self {
            from: Some(from),
            until: Some(until),
            step_s,
            start,
            busy: draw(|point| point.busy),
            queued: draw(|point| point.queued),
            requests: draw(|point| point.requests),
            errors: draw(|point| point.errors),
            shed: draw(|point| point.shed),
            ..Self::default()
        }
    }
}

/// Returns the document.
///
/// # Panics
///
/// Never: its keys are text.
pub fn overview_json(overview: &Overview) -> String {
    serde_json::to_string(overview).expect("an overview has text keys and plain values only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trends::PoolStep;

    #[test]
    fn the_line_has_a_point_for_each_step_and_fits_on_a_page() {
        let at = |second: u64| UnixTime::from_ms((1_767_225_600 + second) * 1_000);
        let minute = |n: u64| Summary { at: at(n * 60), busy: n, requests: 2, ..<_>::default() };
        // The second is missing.
        let minutes = [minute(1), minute(3), minute(4)];
        let short = Overview::new((at(30), at(250)), minutes.iter());
        assert_eq!((short.step_s, short.start), (60, at(0)));
        assert_eq!(short.busy, [None, Some(1), None, Some(3), Some(4)]);

        let days: Vec<Summary> = (0..12 * 1_440).map(minute).collect();
        let until = at(12 * 86_400 - 60);
        let long = Overview::new((at(0), until), days.iter());
        assert_eq!((long.step_s, long.busy.len()), (1_500, 692));
        assert_eq!((long.busy[0], long.requests[1]), (Some(14), Some(50)));
        assert_eq!(Overview::new((at(9), at(9)), [].iter()).busy, [None]);
    }

    #[test]
    fn the_pools_of_a_step_are_added_and_of_steps_the_worst_is_taken() {
        let step = |busy| {
            let pool = PoolStep { busy, queued: 1, shed: 1, ..PoolStep::default() };
            let pools = [("a".to_owned(), pool.clone()), ("b".to_owned(), pool)].into();
            Step { requests: 10, errors: 2, pools, ..Step::default() }
        };
        let summary = Summary::of(UnixTime::default(), &[step(3), step(1)]);
        let expected =
            Summary { busy: 6, queued: 2, requests: 20, errors: 4, shed: 4, ..<_>::default() };
        assert_eq!(summary, expected);
        assert!(overview_json(&Overview::default()).starts_with(r#"{"from":null,"until":null,"#));
    }
}
