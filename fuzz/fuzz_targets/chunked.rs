//! Chunked bodies: no panic, no standing still, and the same data however the bytes are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostler_policy::http::chunked::{ChunkError, ChunkedDecoder, Step};

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let whole = decode(bytes, bytes.len().max(1));
    let pieces = decode(bytes, usize::from(cut).max(1));
    // Which of several faults is found first may depend on the cut.
    assert_eq!(whole.ok(), pieces.ok(), "cutting changed the body");
});

/// The data and how many bytes it took, for a body that is complete.
fn decode(bytes: &[u8], cut: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let (mut data, mut used) = (Vec::new(), 0);
    let mut received = 0;
    while received < bytes.len() {
        received = bytes.len().min(received + cut);
        loop {
            let Step { consumed, data: length, is_end } = decoder.step(&bytes[used..received])?;
            data.extend_from_slice(&bytes[used + consumed - length..used + consumed]);
            used += consumed;
            if is_end {
                return Ok(Some((data, used)));
            }
            if length == 0 {
                assert_eq!(used, received, "the decoder stands still");
                break;
            }
        }
    }
    Ok(None)
}
