//! Tells the program what it was built from: the commit, the compiler, the target.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = said(&rustc, &["--version"]).unwrap_or_default();
    // Who builds from an archive has no repository, and says it this way.
    let commit = std::env::var("OSTLER_COMMIT").ok();
    let commit = commit.or_else(|| said("git", &["rev-parse", "--short=12", "HEAD"]));
    tell("cargo::rerun-if-env-changed", "OSTLER_COMMIT");
    tell("cargo::rerun-if-changed", "build.rs");
    if let Some(heads) = said("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        tell("cargo::rerun-if-changed", &heads);
    }
    let unknown = || "unknown".to_owned();
    for (name, value) in [
        ("OSTLER_BUILD_COMMIT", commit.unwrap_or_else(unknown)),
        ("OSTLER_BUILD_RUSTC", compiler),
        ("OSTLER_BUILD_TARGET", std::env::var("TARGET").unwrap_or_else(|_| unknown())),
        ("OSTLER_BUILD_PROFILE", std::env::var("PROFILE").unwrap_or_else(|_| unknown())),
    ] {
        tell("cargo::rustc-env", &format!("{name}={value}"));
    }
}

/// What a program prints; nothing where it cannot be run, or fails.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn tell(key: &str, value: &str) {
    println!("{key}={value}");
}
