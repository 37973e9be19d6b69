//! The state word of a row: who holds it, for the how manieth time, and what it is doing.
//!
//! ```text
//! bits 63..40 incarnation of the proxy that claimed it
//! bits 39..8  sequence: one more for each claim
//! bits 7..0   state
//! ```
//!
//! One word, so that every change is one compare-and-swap: a late release by a former holder
//! finds another sequence and changes nothing.

/// What a row is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// Nobody holds it.
    Free,
    /// Someone holds it; no request has been handed over yet.
    Claimed,
    /// A request is in the application.
    Running,
    /// As `Running`, and past the time its request was allowed.
    Stuck,
}

/// Most that fits the incarnation's bits.
pub(crate) const INCARNATION_MASK: u64 = (1 << 24) - 1;

/// A state word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateWord {
    /// The lower 24 bits of the proxy's incarnation.
    pub(crate) incarnation: u32,
    /// Which claim of this row it is.
    pub(crate) sequence: u32,
    /// What the row is doing.
    pub(crate) state: RowState,
}

impl StateWord {
    /// Reads a word, or returns `None` if its state is not one we write.
    pub(crate) fn unpack(word: u64) -> Option<Self> {
        let [state, s0, s1, s2, s3, i0, i1, i2] = word.to_le_bytes();
        let state = match state {
            0 => RowState::Free,
            1 => RowState::Claimed,
            2 => RowState::Running,
            3 => RowState::Stuck,
            _ => return None,
        };
        let sequence = u32::from_le_bytes([s0, s1, s2, s3]);
        let incarnation = u32::from_le_bytes([i0, i1, i2, 0]);
        Some(Self { incarnation, sequence, state })
    }

    /// Writes the word. Of the incarnation only the lower 24 bits are kept.
    pub(crate) fn pack(self) -> u64 {
        let state = match self.state {
            RowState::Free => 0,
            RowState::Claimed => 1,
            RowState::Running => 2,
            RowState::Stuck => 3,
        };
        let incarnation = u64::from(self.incarnation) & INCARNATION_MASK;
        (incarnation << 40) | (u64::from(self.sequence) << 8) | state
    }

    /// Returns the same claim in another state.
    pub(crate) fn with(self, state: RowState) -> Self {
        Self { state, ..self }
    }

    /// Tells whether a request is in the application.
    pub(crate) fn is_running(self) -> bool {
        matches!(self.state, RowState::Running | RowState::Stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_word_survives_packing_and_the_incarnation_is_cut_to_its_bits() {
        for state in [RowState::Free, RowState::Claimed, RowState::Running, RowState::Stuck] {
            check(StateWord { incarnation: 0, sequence: 0, state }, 0);
            check(StateWord { incarnation: 0x00AB_CDEF, sequence: u32::MAX, state }, 0x00AB_CDEF);
            check(StateWord { incarnation: 0xFFAB_CDEF, sequence: 7, state }, 0x00AB_CDEF);
        }
    }

    #[test]
    fn a_state_nobody_writes_is_refused() {
        for state in 4..=255 {
            assert_eq!(StateWord::unpack(state), None, "state {state}");
        }
    }

    #[track_caller]
    fn check(word: StateWord, incarnation: u32) {
        assert_eq!(StateWord::unpack(word.pack()), Some(StateWord { incarnation, ..word }));
    }
}
