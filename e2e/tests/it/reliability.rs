//! What Ostler promises when it is changed, overloaded or hurt: the figures of
//! `docs/reliability.md`. Short in the normal run, at full length in `cargo xtask test --soak`.

mod killed;
mod replaced;
