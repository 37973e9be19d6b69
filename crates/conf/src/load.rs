//! From files to a configuration: reading, includes, decoding, and all errors at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::decode::{Decoder, Known};
use crate::model::Config;
use crate::source::{Place, Sources};
use crate::surroundings::Surroundings;
use crate::tree::{Data, Node, Problem, TableNode, TreeBuilder, merge};
use crate::{ConfigError, ConfigErrors, effective, mask};

/// How deep includes may be nested; deeper is taken for a mistake.
const MAX_INCLUDE_DEPTH: usize = 8;

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files say, with every default resolved.
    pub config: Config,
    /// The files that were read, the first the one that was named.
    pub files: Vec<PathBuf>,
    root: TableNode,
    sources: Sources,
}

impl Loaded {
    /// The effective configuration: TOML in which each value is followed by its file and line.
    ///
    /// `show_defaults` adds the values that no file sets.
    pub fn effective(&self, show_defaults: bool) -> String {
        effective::with_sources(&self.config, &self.root, &self.sources, show_defaults)
    }

    /// An error about `key` of the pool called `pool`, at its value, or at the pool's head where
    /// the key has its default: of what the files alone cannot say.
    pub fn pool_error(&self, pool: &str, key: &str, message: String) -> ConfigError {
        let table = self.root.table("pool").and_then(|pools| pools.table(pool));
        let place = table.map_or(self.root.at, |table| table.place(key));
        self.sources.error(place, message)
    }

    /// The effective configuration with defaults, for more people than the operator at the
    /// terminal: whatever may be secret is replaced by `***`.
    pub fn masked(&self) -> String {
        effective::masked(&self.config, &self.root, &self.sources)
    }
}

impl Config {
    /// Reads `path` and what it includes.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any of the files.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        load(path, &Surroundings::here())
    }

    /// Reads a text as if it stood in `path`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigErrors> {
        parse(text, path, &Surroundings::here())
    }

    /// The whole configuration as TOML, defaults included: [`Config::parse`] gives it back
    /// anywhere, since paths in it are absolute.
    pub fn to_toml(&self) -> String {
        effective::plain(self)
    }
}

pub(crate) fn load(path: &Path, surroundings: &Surroundings) -> Result<Loaded, ConfigErrors> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        ConfigErrors(vec![ConfigError { path: path.to_path_buf(), line: 0, column: 0, message }])
    })?;
    read(text, path, surroundings)
}

pub(crate) fn parse(
    text: &str,
    path: &Path,
    surroundings: &Surroundings,
) -> Result<Config, ConfigErrors> {
    read(text.to_owned(), path, surroundings).map(|loaded| loaded.config)
}

fn read(text: String, path: &Path, surroundings: &Surroundings) -> Result<Loaded, ConfigErrors> {
    let mut reader = Reader::new(surroundings);
    reader.seen.extend(path.canonicalize());
    let mut root = reader.file(text, path, path, 0);
    let Reader { sources, syntax, problems, .. } = reader;
    let mut decoder = Decoder {
        sources: &sources,
        surroundings,
        known: Known::default(),
        incomplete: !syntax.is_empty(),
        hidden: mask::hidden(&root),
        problems,
    };
    let config = Config::decode(&mut root, &mut decoder);
    let errors = report(syntax, decoder.problems, &sources);
    match config {
        Some(config) if errors.is_empty() => {
            let files = sources.files.iter().map(|file| file.path.clone()).collect();
            Ok(Loaded { config, files, root, sources })
        }
        _ => Err(ConfigErrors(errors)),
    }
}

/// Every error in the order of the files.
///
/// A line with a syntax error is reported once: what follows on it is a consequence.
fn report(mut syntax: Vec<Problem>, problems: Vec<Problem>, sources: &Sources) -> Vec<ConfigError> {
    let line = |problem: &Problem| (problem.0.file, sources.position(problem.0).line);
    syntax.sort();
    syntax.dedup_by_key(|problem| line(problem));
    let broken: BTreeSet<(usize, usize)> = syntax.iter().map(line).collect();
    let sound = problems.into_iter().filter(|problem| !broken.contains(&line(problem)));
    let mut all: Vec<Problem> = syntax.into_iter().chain(sound).collect();
    all.sort();
    all.dedup();
    all.into_iter().map(|(place, message)| sources.error(place, message)).collect()
}

/// Reads files and what they include.
struct Reader<'a> {
    surroundings: &'a Surroundings,
    sources: Sources,
    /// Canonical paths of what was read.
    seen: BTreeSet<PathBuf>,
    syntax: Vec<Problem>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(surroundings: &'a Surroundings) -> Self {
        Self {
            surroundings,
            sources: Sources::default(),
            seen: BTreeSet::new(),
            syntax: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The tree of one file, with what it includes merged into it.
    ///
    /// `shown`: its path without the text of variables.
    fn file(&mut self, text: String, path: &Path, shown: &Path, depth: usize) -> TableNode {
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        let mut builder = TreeBuilder {
            file: self.sources.files.len(),
            surroundings: self.surroundings,
            problems: Vec::new(),
        };
        let mut root = builder.table(0, String::new(), parsed.get_ref());
        let TreeBuilder { file, problems, .. } = builder;
        self.problems.extend(problems);
        self.syntax.extend(errors.iter().map(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            (Place { file, offset }, error.message().to_owned())
        }));
        self.sources.add(path, shown, text);
        if let Some(include) = root.entries.remove("include") {
            for included in self.include(&include.value, (path, shown), depth + 1) {
                merge(&mut root, included, &self.sources, &mut self.problems);
            }
        }
        root
    }

    /// The trees of the files that `include` names; `from` is the path of its file, and what is
    /// shown of it.
    fn include(&mut self, include: &Node, from: (&Path, &Path), depth: usize) -> Vec<TableNode> {
        let Data::Array(patterns) = &include.data else {
            let message = format!("`include`: expected an array, found {}", shown(include));
            self.problems.push((include.at, message));
            return Vec::new();
        };
        if MAX_INCLUDE_DEPTH < depth {
            let message = format!("`include`: more than {MAX_INCLUDE_DEPTH} deep");
            self.problems.push((include.at, message));
            return Vec::new();
        }
        let mut trees = Vec::new();
        for node in patterns {
            let Data::Text(pattern) = &node.data else {
                let message = format!("`include`: expected a string, found {}", shown(node));
                self.problems.push((node.at, message));
                continue;
            };
            match files_of(pattern, from.0) {
                Ok(paths) => {
                    trees.extend(
                        paths.iter().filter_map(|path| self.included(path, from, node, depth)),
                    );
                }
                Err(_) if !node.variables.is_empty() => {
                    let message = format!("`include`: {} is not a pattern", shown(node));
                    self.problems.push((node.at, message));
                }
                Err(message) => self.problems.push((node.at, format!("`include`: {message}"))),
            }
        }
        trees
    }

    /// The tree of one included file, unless it cannot be read or was read before.
    fn included(
        &mut self,
        path: &Path,
        from: (&Path, &Path),
        node: &Node,
        depth: usize,
    ) -> Option<TableNode> {
        let shown = shown_path(path, from, node);
        let text = path.canonicalize().and_then(|canonical| {
            let fresh = self.seen.insert(canonical);
            if fresh { std::fs::read_to_string(path).map(Some) } else { Ok(None) }
        });
        let message = match text {
            Ok(Some(text)) => return Some(self.file(text, path, &shown, depth)),
            Ok(None) => format!("`include`: {} is included already", shown.display()),
            Err(error) => format!("`include`: {} cannot be read: {error}", shown.display()),
        };
        self.problems.push((node.at, message));
        None
    }
}

/// What an error says was found.
fn shown(node: &Node) -> String {
    node.made_from().unwrap_or_else(|| node.data.to_string())
}

/// The path of a file that `node` includes, without the text of variables.
fn shown_path(path: &Path, (from, shown): (&Path, &Path), node: &Node) -> PathBuf {
    if !node.variables.is_empty() {
        let names: Vec<String> = node.variables.iter().map(|name| format!("${{{name}}}")).collect();
        return PathBuf::from(format!("(from {})", names.join(", ")));
    }
    let folder = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
    match path.strip_prefix(folder(from)) {
        Ok(rest) if from != shown => folder(shown).join(rest),
        Ok(_) | Err(_) => path.to_path_buf(),
    }
}

/// The files that `pattern`, in the file `from`, names. A pattern may name none, a plain name
/// stands for itself.
fn files_of(pattern: &str, from: &Path) -> Result<Vec<PathBuf>, String> {
    let directory = from.parent().unwrap_or_else(|| Path::new(""));
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![directory.join(pattern)]);
    }
    let directory = glob::Pattern::escape(&directory.to_string_lossy());
    let pattern = Path::new(&directory).join(pattern);
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|error| error.to_string())?;
    found.map(|path| path.map_err(|error| error.to_string())).collect()
}

#[cfg(test)]
mod tests;
