//! The numbers of one route that a difference is made of: those of the last minute.

use ostler_segment::Costs;

/// What a route cost, since the start or in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Requests ended.
    pub(crate) requests: u64,
    /// Of these, errors.
    pub(crate) errors: u64,
    /// Of these, refused before they had a row.
    pub(crate) shed: u64,
    /// Time in rows, of running requests too, in microseconds.
    pub(crate) thread_us: u64,
    /// Processor time in the application, in microseconds.
    pub(crate) cpu_us: u64,
    /// Requests that made too many queries.
    pub(crate) over_budget: u64,
    /// What the application reported.
    pub(crate) costs: Costs,
}

impl Figures {
    /// What came since an earlier moment.
    pub(super) fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Both together.
    pub(super) fn and(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, join: fn(u64, u64) -> u64) -> Self {
        let (costs, others) = (&self.costs, &other.costs);
        Self {
            requests: join(self.requests, other.requests),
            errors: join(self.errors, other.errors),
            shed: join(self.shed, other.shed),
            thread_us: join(self.thread_us, other.thread_us),
            cpu_us: join(self.cpu_us, other.cpu_us),
            over_budget: join(self.over_budget, other.over_budget),
            costs: Costs::read(|cost| join(costs.get(cost), others.get(cost))),
        }
    }
}
