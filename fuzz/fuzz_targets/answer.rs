//! Heads of answers: no panic, and what is written for the client is a head again; costs that they
//! report are bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostler_policy::http::answer::{AnswerIndex, ClientBody, ToClient};
use ostler_policy::http::head::Version;

fuzz_target!(|input: &[u8]| {
    let mut index = AnswerIndex::default();
    let Ok(Some(answer)) = index.parse(input, false) else { return };
    if let Some(reported) = index.reported(input) {
        assert!(reported.db_queries <= 1_000_000_000_000, "costs are bounded: {reported:?}");
    }
    if 250 < index.fields(input).count() {
        return; // What we add could be more than we read.
    }
    let body = ClientBody::choose(answer.framing, Version::Http11);
    let to_client = ToClient { body, version: Version::Http11, closes: false, date: b"now" };
    let mut out = Vec::new();
    index.write(input, &mut out, &to_client);
    let mut again = AnswerIndex::default();
    let read = again.parse(&out, false).expect("what we write is valid").expect("and complete");
    assert_eq!(read.length, out.len(), "one head, and nothing behind it");
    assert_eq!(read.status, answer.status);
});
