//! History (being wired).

mod codec;
mod frame;
mod ring;
mod scan;
