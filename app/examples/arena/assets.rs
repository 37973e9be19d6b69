//! The files under `/static/`, for when no proxy serves them.

/// A file by its name, and what it is.
pub(crate) fn find(name: &str) -> Option<(&'static str, &'static [u8])> {
    match name {
        "arena.css" => Some(("text/css; charset=utf-8", include_bytes!("static/arena.css"))),
        "arena.js" => Some(("text/javascript; charset=utf-8", include_bytes!("static/arena.js"))),
        "logo.svg" => Some(("image/svg+xml", include_bytes!("static/logo.svg"))),
        _ => None,
    }
}
