//! What a row says about its request: seven short texts in fixed places.
//!
//! A text longer than its place is cut at a character's border and the summary is marked. This
//! module only copies; `row` decides when the words may be written and whether a copy is whole.

use crate::atomic::{AtomicU64, Ordering};

use crate::map::Words;

/// Where each text starts in the summary, and how many bytes it may have. Word 0 has the lengths.
struct Place {
    start: usize,
    bytes: usize,
}

const TEXTS: usize = 7;
const PLACES: [Place; TEXTS] = [
    Place { start: 1, bytes: 40 },  // id: a UUID is 36 bytes
    Place { start: 6, bytes: 16 },  // method
    Place { start: 8, bytes: 192 }, // target
    Place { start: 32, bytes: 64 }, // host
    Place { start: 40, bytes: 64 }, // site
    Place { start: 48, bytes: 48 }, // client: the longest IPv6 address is 45 bytes
    Place { start: 54, bytes: 8 },  // protocol
];

/// Words of a summary.
pub(crate) const SUMMARY_WORDS: usize = 55;

// The texts follow one another and fill the summary.
const _: () = {
    let mut index = 0;
    let mut end = 1;
    while index < TEXTS {
        assert!(PLACES[index].start == end);
        assert!(PLACES[index].bytes.is_multiple_of(8) && PLACES[index].bytes < 256);
        end += PLACES[index].bytes / 8;
        index += 1;
    }
    assert!(end == SUMMARY_WORDS);
};

/// A request, as it is written to a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary<'a> {
    /// Request id. At most 40 bytes are kept.
    pub id: &'a str,
    /// Method. At most 16 bytes are kept.
    pub method: &'a str,
    /// Path and query. At most 192 bytes are kept.
    pub target: &'a str,
    /// Host as the client sent it. At most 64 bytes are kept.
    pub host: &'a str,
    /// Site that matched. At most 64 bytes are kept.
    pub site: &'a str,
    /// Address of the client. At most 48 bytes are kept.
    pub client: &'a str,
    /// Protocol, as `HTTP/1.1`. At most 8 bytes are kept.
    pub protocol: &'a str,
}

/// A request, as it was read from a row. Its texts are whatever stood there, made valid UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SummarySnapshot {
    /// Request id.
    pub id: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Host as the client sent it.
    pub host: String,
    /// Site that matched.
    pub site: String,
    /// Address of the client.
    pub client: String,
    /// Protocol.
    pub protocol: String,
    /// Some text was longer than its place.
    pub truncated: bool,
}

/// Copies a summary into its words. Allocates nothing; about 7 to 55 relaxed stores.
pub(crate) fn write(summary: &Summary<'_>, cells: &[AtomicU64]) {
    let texts = [
        summary.id,
        summary.method,
        summary.target,
        summary.host,
        summary.site,
        summary.client,
        summary.protocol,
    ];
    let mut lengths = [0_u8; 8];
    for ((text, place), length) in texts.into_iter().zip(&PLACES).zip(&mut lengths) {
        let kept = &text.as_bytes()[..text.floor_char_boundary(place.bytes)];
        *length = u8::try_from(kept.len()).unwrap_or(u8::MAX);
        write_bytes(kept, cells.get(place.start..).unwrap_or_default());
    }
    let truncated = texts.iter().zip(&PLACES).any(|(text, place)| place.bytes < text.len());
    lengths[TEXTS] = u8::from(truncated);
    if let Some(cell) = cells.first() {
        cell.store(u64::from_le_bytes(lengths), Ordering::Relaxed);
    }
}

fn write_bytes(bytes: &[u8], cells: &[AtomicU64]) {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut cells = cells.iter();
    for (word, cell) in words.iter().zip(&mut cells) {
        cell.store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
    if let (false, Some(cell)) = (rest.is_empty(), cells.next()) {
        let mut word = [0_u8; 8];
        word[..rest.len()].copy_from_slice(rest);
        cell.store(u64::from_le_bytes(word), Ordering::Relaxed);
    }
}

/// A summary's words, copied out and not yet looked at.
pub(crate) type RawSummary = [u64; SUMMARY_WORDS];

/// Copies the words out.
pub(crate) fn copy(words: Words<'_>) -> RawSummary {
    std::array::from_fn(|index| words.load(index))
}

/// Reads a copy. Takes anything: lengths are cut to the places, bytes are made UTF-8.
pub(crate) fn read(raw: &RawSummary) -> SummarySnapshot {
    let lengths = raw[0].to_le_bytes();
    let text = |index: usize| {
        let Place { start, bytes } = PLACES[index];
        let place: Vec<u8> =
            raw[start..start + bytes / 8].iter().flat_map(|word| word.to_le_bytes()).collect();
        let length = usize::from(lengths[index]).min(bytes);
        String::from_utf8_lossy(&place[..length]).into_owned()
    };
    SummarySnapshot {
        id: text(0),
        method: text(1),
        target: text(2),
        host: text(3),
        site: text(4),
        client: text(5),
        protocol: text(6),
        truncated: lengths[TEXTS] != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_as_it_was_written() {
        let summary = Summary {
            id: "0198c3b2-6c1f-7e9a-8f00-0123456789ab",
            method: "GET",
            target: "/search?q=horse",
            host: "www.example.com",
            site: "example",
            client: "2001:db8::1",
            protocol: "HTTP/1.1",
        };
        let read = round_trip(&summary);
        assert_eq!(
            read,
            SummarySnapshot {
                id: summary.id.to_owned(),
                method: summary.method.to_owned(),
                target: summary.target.to_owned(),
                host: summary.host.to_owned(),
                site: summary.site.to_owned(),
                client: summary.client.to_owned(),
                protocol: summary.protocol.to_owned(),
                truncated: false,
            }
        );
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_the_summary_is_marked() {
        // 7 + 96 two-byte characters: the cut after 192 bytes falls inside a character.
        let target = format!("/234567{}", "é".repeat(96));
        let read = round_trip(&Summary { target: &target, ..Summary::default() });
        assert!(read.truncated);
        assert_eq!(read.target.len(), 191);
        assert!(target.starts_with(&read.target));

        let exact = "x".repeat(192);
        let read = round_trip(&Summary { target: &exact, ..Summary::default() });
        assert!(!read.truncated);
        assert_eq!(read.target, exact);
    }

    #[test]
    fn a_shorter_text_leaves_nothing_of_a_longer_one() {
        let cells = cells();
        write(&Summary { host: "a-long-host.example.com", ..Summary::default() }, &cells);
        write(&Summary { host: "b", ..Summary::default() }, &cells);
        assert_eq!(read(&copy(Words::of_memory(&cells))).host, "b");
    }

    fn cells() -> Vec<AtomicU64> {
        (0..SUMMARY_WORDS).map(|_| AtomicU64::new(u64::MAX)).collect()
    }

    fn round_trip(summary: &Summary<'_>) -> SummarySnapshot {
        let cells = cells();
        write(summary, &cells);
        read(&copy(Words::of_memory(&cells)))
    }
}
