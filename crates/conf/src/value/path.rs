//! Paths of files, and paths of requests.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Text;

impl Text for PathBuf {
    const KIND: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(Self::from(text)) }
    }

    fn text(&self) -> String {
        self.to_string_lossy().into_owned()
    }

    fn relative_to(self, directory: &Path) -> Self {
        directory.join(self)
    }
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPath {
    /// `"-"`: standard output for the access log, standard error for the error log.
    Standard,
    /// A file, opened for appending.
    File(PathBuf),
}

impl Text for LogPath {
    const KIND: &'static str = "a path or \"-\"";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "-" => Ok(Self::Standard),
            path => PathBuf::parse(path).map(Self::File),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Standard => "-".to_owned(),
            Self::File(path) => path.text(),
        }
    }

    fn relative_to(self, directory: &Path) -> Self {
        match self {
            Self::Standard => Self::Standard,
            Self::File(path) => Self::File(path.relative_to(directory)),
        }
    }
}

/// Which paths of requests a route is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoutePath {
    /// `"/api"`: this path and what is below it, at segment borders. With a slash at its end,
    /// only what begins with all of it.
    Prefix(String),
    /// `"=/exact"`: this path alone. Held without the `=`.
    Exact(String),
}

impl fmt::Display for RoutePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(path) => write!(formatter, "{path}"),
            Self::Exact(path) => write!(formatter, "={path}"),
        }
    }
}

impl Text for RoutePath {
    const KIND: &'static str = "a request path";

    fn parse(text: &str) -> Result<Self, String> {
        let exact = text.strip_prefix('=');
        let path = exact.unwrap_or(text);
        if !path.starts_with('/') {
            return Err(format!("{text:?} must begin with \"/\" or, for one path alone, \"=/\""));
        }
        check_plain_path(path)?;
        let path = path.to_owned();
        Ok(if exact.is_some() { Self::Exact(path) } else { Self::Prefix(path) })
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

/// Where an application begins among the paths of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPath(String);

impl MountPath {
    /// Returns the path: `/`, or one without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for MountPath {
    const KIND: &'static str = "a request path";

    fn parse(text: &str) -> Result<Self, String> {
        check_plain_path(text)?;
        let path = text.strip_suffix('/').unwrap_or(text);
        Ok(Self(if path.is_empty() { "/" } else { path }.to_owned()))
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// Checks the path of a request: one that a request can have after it was made plain.
///
/// # Errors
///
/// Says what is not allowed.
pub(crate) fn check_plain_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("{path:?} must begin with \"/\""));
    }
    if path.contains(['?', '#']) {
        return Err(format!("{path:?} is more than a path: no `?` and no `#`"));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{path:?} must be visible ASCII: write others as in a URL, `%C3%A9`"));
    }
    if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(format!(
            "{path:?} has a segment that no request path keeps: `//`, `.` or `..`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_route_path_begins_with_a_slash() {
        for text in ["/", "/api", "/static/", "=/", "=/robots.txt", "/a%20b"] {
            check_text::<RoutePath>(text, Ok(text));
        }
        for text in ["", "api", "=api", "=", "*"] {
            let message = format!("{text:?} must begin with \"/\" or, for one path alone, \"=/\"");
            check_text::<RoutePath>(text, Err(&message));
        }
        check_text::<RoutePath>("/a?b", Err("\"/a?b\" is more than a path: no `?` and no `#`"));
        check_text::<RoutePath>(
            "/é",
            Err("\"/é\" must be visible ASCII: write others as in a URL, `%C3%A9`"),
        );
        for text in ["/a/../b", "/./a", "/a//b", "//"] {
            let message =
                format!("{text:?} has a segment that no request path keeps: `//`, `.` or `..`");
            check_text::<RoutePath>(text, Err(&message));
        }
    }

    #[test]
    fn an_application_is_mounted_without_a_slash_at_the_end() {
        check_text::<MountPath>("/", Ok("/"));
        check_text::<MountPath>("/app", Ok("/app"));
        check_text::<MountPath>("/a/b/", Ok("/a/b"));
        check_text::<MountPath>("app", Err("\"app\" must begin with \"/\""));
        check_text::<MountPath>("/a?b", Err("\"/a?b\" is more than a path: no `?` and no `#`"));
    }

    #[test]
    fn a_log_goes_to_standard_output_or_a_file_beside_the_configuration() {
        let resolve = |text: &str| LogPath::parse(text).unwrap().relative_to(Path::new("/etc/o"));
        assert_eq!(resolve("-"), LogPath::Standard);
        assert_eq!(resolve("a.log"), LogPath::File("/etc/o/a.log".into()));
        assert_eq!(resolve("/var/a.log"), LogPath::File("/var/a.log".into()));
    }
}
