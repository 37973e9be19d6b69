//! Numbers as decimal digits, appended to what is being written.
//!
//! A request writes several, and the general formatting machinery costs a multiple of the digits.

/// Digits of the largest `u64`.
const MOST_DIGITS: usize = 20;

/// Appends a number to a head or a line.
pub fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; MOST_DIGITS];
    out.extend_from_slice(render(&mut digits, number));
}

/// Appends a number to a text.
pub(crate) fn push_decimal(text: &mut String, number: u64) {
    let mut digits = [b'0'; MOST_DIGITS];
    // Digits are ASCII.
    text.push_str(std::str::from_utf8(render(&mut digits, number)).unwrap_or_default());
}

/// Writes the digits to the end of the room; returns them.
fn render(digits: &mut [u8; MOST_DIGITS], number: u64) -> &[u8] {
    let (mut rest, mut first) = (number, MOST_DIGITS);
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default());
        rest /= 10;
        first = at;
        if rest == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_written_as_the_standard_library_would() {
        for number in [0, 1, 9, 10, 99, 100, 65_535, 1_234_567_890, u64::MAX - 1, u64::MAX] {
            let (mut out, mut text) = (b"x".to_vec(), "x".to_owned());
            write_decimal(&mut out, number);
            push_decimal(&mut text, number);
            assert_eq!(text, format!("x{number}"));
            assert_eq!(out, text.as_bytes());
        }
    }
}
