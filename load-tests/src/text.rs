//! Text that grows piece by piece: configurations, pages and pictures.

use std::fmt::{Arguments, Write as _};

/// Adds a piece.
pub(crate) fn add(text: &mut String, piece: Arguments<'_>) {
    text.write_fmt(piece).expect("a string takes whatever is written to it");
}
