//! The texts a configuration was read from, and places in them.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::ConfigError;

/// A place in one of the files, small enough to be kept with every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Index in [`Sources`], in the order the files were read.
    pub(crate) file: usize,
    /// In bytes, from the start of the text.
    pub(crate) offset: usize,
}

/// One file that was read.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// As the operator named it.
    pub(crate) path: PathBuf,
    /// The same without the text of variables; what is shown.
    pub(crate) shown: PathBuf,
    /// Absolute; what relative paths in the file are relative to.
    pub(crate) directory: PathBuf,
    pub(crate) text: String,
    /// Where each line but the first starts, in bytes.
    lines: Vec<usize>,
}

/// Every file that was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) files: Vec<SourceFile>,
}

/// A place as an operator reads it: a file, and a line and a column that count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position<'a> {
    pub(crate) path: &'a Path,
    pub(crate) line: usize,
    /// In characters.
    pub(crate) column: usize,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl Sources {
    /// Adds a file and returns its index.
    pub(crate) fn add(&mut self, path: &Path, shown: &Path, text: String) -> usize {
        let path = path.to_path_buf();
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let directory = absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        let lines =
            memchr::memchr_iter(b'\n', text.as_bytes()).map(|newline| newline + 1).collect();
        let shown = shown.to_path_buf();
        self.files.push(SourceFile { path, shown, directory, text, lines });
        self.files.len() - 1
    }

    /// Where `place` is.
    pub(crate) fn position(&self, place: Place) -> Position<'_> {
        let file = &self.files[place.file];
        let before = file.text.get(..place.offset).unwrap_or(&file.text);
        let newlines = file.lines.partition_point(|start| *start <= before.len());
        let line_start = newlines.checked_sub(1).map_or(0, |last| file.lines[last]);
        Position {
            path: &file.shown,
            line: newlines + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The directory that relative paths at `place` are relative to.
    pub(crate) fn directory(&self, place: Place) -> &Path {
        &self.files[place.file].directory
    }

    /// An error at `place`.
    pub(crate) fn error(&self, place: Place, message: String) -> ConfigError {
        let Position { path, line, column } = self.position(place);
        ConfigError { path: path.to_path_buf(), line, column, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_from_one() {
        let mut sources = Sources::default();
        let file = sources.add(
            Path::new("a.toml"),
            Path::new("a.toml"),
            "a = 1\né = 'ü' # x\n".to_owned(),
        );
        let check = |needle: &str, expected: &str| {
            let offset = sources.files[file].text.find(needle).unwrap();
            let position = sources.position(Place { file, offset }).to_string();
            assert_eq!(position, expected, "of {needle:?}");
        };
        check("a", "a.toml:1:1");
        check("1", "a.toml:1:5");
        check("é", "a.toml:2:1");
        check("# x", "a.toml:2:9");
    }
}
