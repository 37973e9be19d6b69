//! Request heads: no panic; cut anywhere, the same head; what is forwarded is a head again, with
//! the same framing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostler_policy::http::forward::{Forward, write_request};
use ostler_policy::http::framing::{Framing, request_framing};
use ostler_policy::http::head::{HeadIndex, HeadLimits, HeadScan};
use ostler_policy::http::{host, target};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4_096, fields: 50, target_bytes: 1_024 };

fuzz_target!(|input: &[u8]| {
    let whole = HeadScan::default().advance(input, &LIMITS);
    let mut scan = HeadScan::default();
    let mut cut = Ok(None);
    for length in 0..=input.len() {
        cut = scan.advance(&input[..length], &LIMITS);
        if !matches!(cut, Ok(None)) {
            break;
        }
    }
    let Ok(Some(end)) = whole else { return };
    let bytes = &input[end.start..end.end];
    let mut index = HeadIndex::default();
    if index.parse(bytes, &LIMITS).is_ok() {
        // What is refused may be refused earlier when it comes bit by bit.
        assert_eq!(cut, whole, "cutting changed the head");
        forward(&index, bytes);
    }
});

fn forward(index: &HeadIndex, bytes: &[u8]) {
    let head = index.head(bytes);
    let (Ok(_), Ok(host)) = (target::checked(head.method(), head.target()), host::host_field(&head))
    else {
        return;
    };
    let Ok(framing) = request_framing(&head) else { return };
    let forward = Forward {
        target: "/",
        version: head.version(),
        host: if host.is_empty() { "a" } else { host },
        body: framing,
        request_id: "1",
        forwarded_for: "192.0.2.1",
        forwarded_proto: "http",
        forwarded_host: "a",
        forwarded: "for=192.0.2.1",
        closes: false,
    };
    let mut out = Vec::new();
    write_request(&mut out, &head, &forward);
    // The limits are the client's; what we add comes on top.
    let limits = HeadLimits { head_bytes: 16_384, fields: 100, ..LIMITS };
    let end = HeadScan::default().advance(&out, &limits).expect("forwarded heads are valid");
    assert_eq!(end.map(|end| end.end), Some(out.len()), "one head, and nothing behind it");
    let mut again = HeadIndex::default();
    again.parse(&out, &limits).expect("forwarded heads are valid");
    let forwarded = request_framing(&again.head(&out)).expect("their framing too");
    assert_eq!(forwarded, framing);
    assert_ne!(forwarded, Framing::UntilClose);
}
