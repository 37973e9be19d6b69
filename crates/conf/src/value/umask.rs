//! What is taken away from the mode of new files, in octal as `umask(1)` has it, such as `"0027"`.

use super::Text;

/// Bits of a mode that no new file gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Umask(pub u32);

/// The bits there are to take away.
const ALL: u32 = 0o777;

impl Text for Umask {
    const KIND: &'static str = "a file mode mask";
    const HINT: &'static str = "write a string of octal digits, such as \"0027\"";

    fn parse(text: &str) -> Result<Self, String> {
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let mask = is_octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
        mask.filter(|mask| *mask <= ALL).map(Self).ok_or_else(|| {
            format!(
                "{text:?} is not a file mode mask: write three octal digits, such as \"027\", or four \
                 that begin with 0"
            )
        })
    }

    fn text(&self) -> String {
        format!("{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_mask_has_octal_digits() {
        check_text::<Umask>("0027", Ok("0027"));
        check_text::<Umask>("077", Ok("0077"));
        check_text::<Umask>("0777", Ok("0777"));
        for text in ["", "7", "27", "0o27", "0028", "1000", "+027", "00027"] {
            let error = format!(
                "{text:?} is not a file mode mask: write three octal digits, such as \"027\", or \
                 four that begin with 0"
            );
            check_text::<Umask>(text, Err(&error));
        }
    }
}
