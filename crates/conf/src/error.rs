//! What is wrong with a configuration, and where.
//!
//! Every error of a configuration is reported at once, in the order of the files, so that an
//! operator fixes a file in one go.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, as `FILE:LINE:COL: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, as the operator named it.
    pub path: PathBuf,
    /// From 1. `0` when the file as a whole is meant: it cannot be read.
    pub line: usize,
    /// From 1, in characters. `0` when the file as a whole is meant.
    pub column: usize,
    /// What is wrong and what is allowed: lower case, no full stop.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, message } = self;
        let path = path.display();
        match line {
            0 => write!(formatter, "{path}: {message}"),
            _ => write!(formatter, "{path}:{line}:{column}: {message}"),
        }
    }
}

/// Everything that is wrong with a configuration. Never empty.
///
/// Displayed one error a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{error}")?;
        }
        Ok(())
    }
}
