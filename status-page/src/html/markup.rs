//! Markup that cannot be broken by what is put into it.
//!
//! Markup itself comes from literals only; everything else is escaped on its way in, so that a
//! text of a client can be nothing but text, in an element and in a quoted attribute.

use std::fmt::{self, Display, Write};

use crate::units::printable;

/// A document under construction.
#[derive(Debug, Default)]
pub(super) struct Markup {
    out: String,
}

impl Markup {
    /// Adds markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }

    /// Adds a value as text.
    pub(super) fn text(&mut self, value: impl Display) -> &mut Self {
        write!(Escaped { out: &mut self.out }, "{value}").expect("writing to a String cannot fail");
        self
    }

    /// Adds a value as text between two pieces of markup.
    pub(super) fn put(
        &mut self,
        before: &'static str,
        value: impl Display,
        after: &'static str,
    ) -> &mut Self {
        self.raw(before).text(value).raw(after)
    }

    /// Returns the document.
    pub(super) fn finish(self) -> String {
        self.out
    }
}

struct Escaped<'a> {
    out: &'a mut String,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in printable(text).chars() {
            match character {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                other => self.out.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_a_text() {
        let mut markup = Markup::default();
        markup.put("<p title=\"", "a\" onload='x'", "\">").text("<script>&amp;\u{0}\n");
        assert_eq!(
            markup.finish(),
            "<p title=\"a&quot; onload=&#39;x&#39;\">&lt;script&gt;&amp;amp;\\u{0}\\u{a}"
        );
    }
}
