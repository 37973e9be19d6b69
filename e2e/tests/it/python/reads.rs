//! `wsgi.input` of a body that is all there: it can be read like any file, again and again.

use ostler_e2e::python;

/// Nothing, little, what comes through the segment, and what comes in a file.
const LENGTHS: [usize; 5] = [0, 1, 3000, 100 << 10, 1 << 20];

/// Orders of steps that are tried for each length.
const SEEDS: u32 = 8;

#[tokio::test]
async fn a_body_reads_like_a_file_of_python() {
    let stack = python::subject("reads.py").with("limits.body-in-memory = '16KiB'").start().await;
    let mut client = stack.connect().await;
    for length in LENGTHS {
        let body = lines(length);
        for seed in 0..SEEDS {
            let head = format!("POST /?{seed} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}");
            let answer = client.exchange(format!("{head}\r\n\r\n{body}")).await;
            assert_eq!(answer.text(), "none", "{length} bytes, seed {seed}");
            assert_eq!(answer.field("x-length"), Some(length.to_string().as_str()));
        }
    }
    stack.stop().await.expect_no_errors_logged();
}

/// So many bytes, in lines of many lengths.
fn lines(length: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        if length <= text.len() {
            break;
        }
        text.push_str(&"x".repeat(number * 7 % 300));
        text.push('\n');
    }
    text.truncate(length);
    text
}
