//! What an application reports of a request: database queries, calls to other services, caching.

/// One of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Database queries.
    DbQueries,
    /// Time they took, in microseconds.
    DbUs,
    /// Calls to other services.
    OutboundCalls,
    /// Time they took, in microseconds.
    OutboundUs,
    /// Questions that a cache could answer.
    CacheHits,
    /// Questions that it could not.
    CacheMisses,
    /// Time it waited for the lock of its interpreter, in microseconds.
    LockUs,
}

impl Cost {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DbQueries,
        Self::DbUs,
        Self::OutboundCalls,
        Self::OutboundUs,
        Self::CacheHits,
        Self::CacheMisses,
        Self::LockUs,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// Words of them in a row.
pub(crate) const COST_WORDS: usize = Cost::COUNT;

/// All of the numbers, of one request or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Database queries.
    pub db_queries: u64,
    /// Time they took, in microseconds.
    pub db_us: u64,
    /// Calls to other services.
    pub outbound_calls: u64,
    /// Time they took, in microseconds.
    pub outbound_us: u64,
    /// Questions that a cache could answer.
    pub cache_hits: u64,
    /// Questions that it could not.
    pub cache_misses: u64,
    /// Time spent waiting for the lock of an interpreter, in microseconds.
    pub lock_us: u64,
}

impl Costs {
    /// Takes each number from where it is kept.
    pub fn read(number: impl Fn(Cost) -> u64) -> Self {
        Self {
            db_queries: number(Cost::DbQueries),
            db_us: number(Cost::DbUs),
            outbound_calls: number(Cost::OutboundCalls),
            outbound_us: number(Cost::OutboundUs),
            cache_hits: number(Cost::CacheHits),
            cache_misses: number(Cost::CacheMisses),
            lock_us: number(Cost::LockUs),
        }
    }

    /// Returns one of the numbers.
    pub fn get(&self, cost: Cost) -> u64 {
        match cost {
            Cost::DbQueries => self.db_queries,
            Cost::DbUs => self.db_us,
            Cost::OutboundCalls => self.outbound_calls,
            Cost::OutboundUs => self.outbound_us,
            Cost::CacheHits => self.cache_hits,
            Cost::CacheMisses => self.cache_misses,
            Cost::LockUs => self.lock_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_read_from_its_own_place() {
        let costs = Costs::read(|cost| cost as u64);
        assert_eq!(Cost::ALL.map(|cost| costs.get(cost)), [0, 1, 2, 3, 4, 5, 6]);
    }
}
