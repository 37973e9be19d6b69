//! Snapshots and steps as payloads: JSON, so that history outlives versions of the program, and
//! compressed.
//!
//! A delta has the JSON of its key frame as dictionary: a second differs from the one before in
//! some digits. So any second is two decompressions.

use std::io;

use ostler_status::{Snapshot, Step};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::get_frame_content_size;

/// Level of compression. Deltas are a tenth smaller than with the default of 3, and higher levels
/// find nothing more.
const LEVEL: i32 = 6;

/// Longest JSON that is decompressed, in bytes: what is longer was not written by us.
const MAX_JSON: u64 = 64 * 1024 * 1024;

/// What deltas of one key frame are made with.
pub(super) struct Encoder {
    compressor: Compressor<'static>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// Returns the payload of a key frame, and the encoder for the deltas behind it.
    pub(super) fn begin(json: &[u8]) -> io::Result<(Vec<u8>, Self)> {
        let payload = zstd::bulk::compress(json, LEVEL)?;
        Ok((payload, Self { compressor: Compressor::with_dictionary(LEVEL, json)? }))
    }

    /// Returns the payload of a delta.
    pub(super) fn delta(&mut self, json: &[u8]) -> io::Result<Vec<u8>> {
        self.compressor.compress(json)
    }
}

/// What deltas of one key frame are read with.
pub(super) struct Decoder(Decompressor<'static>);

impl Decoder {
    pub(super) fn new(key_json: &[u8]) -> io::Result<Self> {
        Ok(Self(Decompressor::with_dictionary(key_json)?))
    }

    /// Returns the JSON of a delta.
    pub(super) fn json(&mut self, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.0.decompress(payload, capacity(payload)?)
    }
}

/// Returns the JSON of a key frame.
pub(super) fn key_json(payload: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::decompress(payload, capacity(payload)?)
}

/// Returns the JSON of a delta.
pub(super) fn delta_json(payload: &[u8], key_json: &[u8]) -> io::Result<Vec<u8>> {
    Decoder::new(key_json)?.json(payload)
}

/// Returns the JSON of a snapshot.
pub(super) fn to_json(snapshot: &Snapshot) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(snapshot)?)
}

/// Reads a snapshot. Keys that are missing have their defaults, others are left aside.
pub(super) fn snapshot(json: &[u8]) -> io::Result<Snapshot> {
    Ok(serde_json::from_slice(json)?)
}

/// Returns the payload of a frame of steps.
pub(super) fn minute(steps: &[Step]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(&serde_json::to_vec(steps)?, LEVEL)
}

/// Reads a frame of steps.
pub(super) fn steps(payload: &[u8]) -> io::Result<Vec<Step>> {
    Ok(serde_json::from_slice(&key_json(payload)?)?)
}

fn capacity(payload: &[u8]) -> io::Result<usize> {
    let size = get_frame_content_size(payload).ok().flatten().filter(|size| *size <= MAX_JSON);
    let size = size.and_then(|size| usize::try_from(size).ok());
    size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a frame of the history"))
}

#[cfg(test)]
mod tests {
    use ostler_status::{Pool, UnixTime};

    use super::*;

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let mut before = Snapshot::default();
        before.server.started = UnixTime::from_ms(1_767_225_600_000);
        before.pools.insert("web".to_owned(), Pool { busy: 3, ..Pool::default() });
        let mut after = before.clone();
        after.requests.total = 12_345;
        let (key, delta) = (to_json(&before).unwrap(), to_json(&after).unwrap());
        let (key_payload, mut encoder) = Encoder::begin(&key).unwrap();
        let delta_payload = encoder.delta(&delta).unwrap();
        assert!(delta_payload.len() < key_payload.len() / 4, "{}", delta_payload.len());
        let read = key_json(&key_payload).unwrap();
        assert_eq!(snapshot(&read).unwrap(), before);
        assert_eq!(snapshot(&delta_json(&delta_payload, &read).unwrap()).unwrap(), after);
    }

    #[test]
    fn history_of_another_version_is_read_as_far_as_it_is_known() {
        let read = snapshot(br#"{"requests":{"total":7,"new":[1]},"unheard":{"of":null}}"#);
        assert_eq!(read.unwrap().requests.total, 7);
    }

    #[test]
    fn what_is_not_a_frame_is_an_error() {
        for garbage in [&b""[..], b"garbage", &[0; 64], &[0xff; 64]] {
            assert!(key_json(garbage).is_err() && delta_json(garbage, b"{}").is_err());
            assert!(steps(garbage).is_err());
        }
        // A frame that says it holds 2^40 bytes.
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0];
        assert_eq!(key_json(&huge).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
