//! A set of cells: one bit each, set by one side and cleared by the other.

use crate::atomic::{AtomicU64, Ordering};

const BITS: u32 = u64::BITS;

/// How many words hold a bit for each of `rows`, rounded up to a cache line.
pub(crate) const fn words_for(rows: u32) -> usize {
    (rows.div_ceil(BITS) as usize).next_multiple_of(8)
}

/// A set of cells.
#[derive(Clone, Copy)]
pub(crate) struct Bits<'a>(pub(crate) &'a [AtomicU64]);

impl Bits<'_> {
    /// Puts a cell in. Returns whether it was not in yet.
    pub(crate) fn set(self, index: u32) -> bool {
        let bit = 1 << (index % BITS);
        self.0
            .get((index / BITS) as usize)
            .is_some_and(|word| word.fetch_or(bit, Ordering::SeqCst) & bit == 0)
    }

    /// Tells whether any is in.
    pub(crate) fn any(self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// Takes one out: the first at or after `start`, then from the beginning, so that whoever
    /// goes on after the last one starves none.
    pub(crate) fn pop(self, start: u32) -> Option<u32> {
        let (first, offset) = ((start / BITS) as usize, start % BITS);
        let count = self.0.len();
        // The word of `start` comes twice: from its bit on, and in the end what lies before it.
        (0..=count).find_map(|step| {
            let mask = match step {
                0 => u64::MAX << offset,
                _ if step == count => !(u64::MAX << offset),
                _ => u64::MAX,
            };
            let index = (first + step) % count.max(1);
            let word = self.0.get(index)?;
            let bit = take_lowest(word, mask)?;
            u32::try_from(index).ok()?.checked_mul(BITS)?.checked_add(bit)
        })
    }

    /// Takes all out, and gives each to `take`.
    pub(crate) fn drain(self, mut take: impl FnMut(u32)) {
        for (base, word) in (0..).step_by(BITS as usize).zip(self.0) {
            if word.load(Ordering::SeqCst) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                take(base + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
    }
}

fn take_lowest(word: &AtomicU64, mask: u64) -> Option<u32> {
    loop {
        let found = word.load(Ordering::SeqCst) & mask;
        if found == 0 {
            return None;
        }
        let bit = found.trailing_zeros();
        if word.fetch_and(!(1 << bit), Ordering::SeqCst) & (1 << bit) != 0 {
            return Some(bit);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_once_in_turn(
            indices in prop::collection::btree_set(0_u32..200, 0..40),
            start in 0_u32..200,
        ) {
            let words: Vec<AtomicU64> = (0..words_for(200)).map(|_| AtomicU64::new(0)).collect();
            let bits = Bits(&words);
            for &index in &indices {
                prop_assert!(bits.set(index));
                prop_assert!(!bits.set(index));
            }
            prop_assert_eq!(bits.any(), !indices.is_empty());
            let popped: Vec<u32> = std::iter::from_fn(|| bits.pop(start)).collect();
            let in_turn: Vec<u32> =
                indices.range(start..).chain(indices.range(..start)).copied().collect();
            prop_assert_eq!(popped, in_turn);

            for &index in &indices {
                bits.set(index);
            }
            let mut drained = BTreeSet::new();
            bits.drain(|index| { drained.insert(index); });
            prop_assert_eq!(drained, indices);
            prop_assert!(!bits.any());
        }
    }

    #[test]
    fn a_cell_that_does_not_exist_is_not_put_in() {
        assert!(!Bits(&[]).set(0));
        assert_eq!(Bits(&[]).pop(7), None);
    }
}
