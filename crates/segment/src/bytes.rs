//! Copies bytes into and out of atomic words.
//!
//! Word by word and relaxed, so that whatever another process does to the memory meanwhile, what
//! comes out is bytes: perhaps wrong ones, never undefined behaviour. Who may read what is said by
//! the counters of `stream`, which order these copies.

use crate::atomic::{AtomicU64, Ordering};

/// Bytes of a word.
pub(crate) const WORD: usize = 8;

/// Writes `bytes` from byte `at` on. What does not fit into `cells` is left out.
///
/// The bytes of a word that are not written keep their values: only one writer may write to a
/// word at a time.
pub(crate) fn write(cells: &[AtomicU64], at: usize, bytes: &[u8]) {
    let (mut index, offset) = (at / WORD, at % WORD);
    let mut rest = bytes;
    if offset != 0 {
        let (first, others) = rest.split_at(rest.len().min(WORD - offset));
        write_part(cells, index, offset, first);
        rest = others;
        index += 1;
    }
    let (words, last) = rest.as_chunks::<WORD>();
    let end = index.saturating_add(words.len());
    if let Some(cells) = cells.get(index..end) {
        for (cell, word) in cells.iter().zip(words) {
            cell.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
    }
    write_part(cells, end, 0, last);
}

fn write_part(cells: &[AtomicU64], index: usize, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if let Some(cell) = cells.get(index) {
        let mut word = cell.load(Ordering::Relaxed).to_ne_bytes();
        for (to, from) in word.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
        cell.store(u64::from_ne_bytes(word), Ordering::Relaxed);
    }
}

/// Appends `length` bytes from byte `at` on to `out`. What lies past the end of `cells` is left out.
pub(crate) fn append(cells: &[AtomicU64], at: usize, length: usize, out: &mut Vec<u8>) {
    out.reserve(length);
    let (mut index, offset) = (at / WORD, at % WORD);
    let mut left = length;
    if offset != 0 {
        let count = left.min(WORD - offset);
        append_part(cells, index, offset, count, out);
        left -= count;
        index += 1;
    }
    let end = index.saturating_add(left / WORD);
    if let Some(cells) = cells.get(index..end) {
        let start = out.len();
        out.resize(start + cells.len() * WORD, 0);
        // A loop without a check for room: it is what a long answer costs here.
        let (words, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<WORD>();
        for (word, cell) in words.iter_mut().zip(cells) {
            *word = cell.load(Ordering::Relaxed).to_ne_bytes();
        }
    }
    append_part(cells, end, 0, left % WORD, out);
}

fn append_part(cells: &[AtomicU64], index: usize, offset: usize, count: usize, out: &mut Vec<u8>) {
    if let Some(cell) = cells.get(index).filter(|_| 0 < count) {
        let word = cell.load(Ordering::Relaxed).to_ne_bytes();
        out.extend(word.iter().skip(offset).take(count));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_its_neighbours_are_left_alone(
            at in 0_usize..40,
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let cells: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(u64::MAX)).collect();
            write(&cells, at, &bytes);
            let mut whole = Vec::new();
            append(&cells, 0, 128, &mut whole);
            let mut expected = vec![0xFF; 128];
            expected[at..at + bytes.len()].copy_from_slice(&bytes);
            prop_assert_eq!(&whole, &expected);

            let mut read = Vec::new();
            append(&cells, at, bytes.len(), &mut read);
            prop_assert_eq!(read, bytes);
        }

        #[test]
        fn nothing_lies_past_the_end(at in 0_usize..400, length in 0_usize..400) {
            let cells: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
            write(&cells, at, &vec![1; length]);
            let mut read = Vec::new();
            append(&cells, at, length, &mut read);
            prop_assert!(read.len() <= length);
        }
    }
}
