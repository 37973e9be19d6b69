//! Python applications in pools: the rules of WSGI to the letter, and applications that are not
//! ours, unmodified.

mod answers;
mod applications;
mod environ;
mod imports;
mod life;
mod reads;
mod turns;
mod validator;

/// A file of so many numbers of five digits, one a line.
fn numbers(count: u32) -> String {
    (0..count).map(|number| format!("{number:05}\n")).collect::<Vec<_>>().concat()
}
