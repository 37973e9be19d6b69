//! What a pool of Python workers runs: `module:callable`, or the path of a script.
//!
//! Only the form is looked at here. Whether there is such a module is for the interpreter to say.

use std::path::{Path, PathBuf};

use super::Text;

/// The callable where none is named: that of `mod_wsgi` and of most other servers.
const DEFAULT_CALLABLE: &str = "application";

/// How a script's path without a slash ends. Not `.wsgi`: `site.wsgi` is the module of nearly
/// every Django project.
const SCRIPT_ENDING: &str = ".py";

/// A WSGI application (PEP 3333).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsgiApplication {
    source: Source,
    /// A name with dots in it, as it was written.
    callable: Option<String>,
}

/// Where the callable is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// A name with dots in it, for `import`.
    Module(String),
    /// A file that is run, whatever its ending.
    Script(PathBuf),
}

impl WsgiApplication {
    /// Returns the path of the script, where it is one.
    pub fn script(&self) -> Option<&Path> {
        match &self.source {
            Source::Module(_) => None,
            Source::Script(path) => Some(path),
        }
    }

    /// Returns it as it was written, with the whole path of a script.
    pub fn shown(&self) -> String {
        self.text()
    }

    /// Returns `module:callable` or `path:callable`, always with the callable, so that a path may
    /// have colons.
    pub fn argument(&self) -> String {
        let callable = self.callable.as_deref().unwrap_or(DEFAULT_CALLABLE);
        format!("{}:{callable}", self.source.text())
    }
}

impl Source {
    fn parse(text: &str) -> Result<Self, String> {
        let is_script = text.contains('/') || text.ends_with(SCRIPT_ENDING);
        if text.is_empty() {
            Err("no module is named: write \"module:callable\", such as \
                 \"site.wsgi:application\", or the path of a script"
                .to_owned())
        } else if text.ends_with('/') {
            Err(format!("{text:?} is a folder: name the script in it, such as \"{text}wsgi.py\""))
        } else if is_script {
            Ok(Self::Script(PathBuf::from(text)))
        } else if is_dotted_name(text) {
            Ok(Self::Module(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is neither a module, such as \"site.wsgi\", nor a script, whose path \
                 has a \"/\" or ends in \".py\""
            ))
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Module(name) => name.clone(),
            Self::Script(path) => path.text(),
        }
    }
}

impl Text for WsgiApplication {
    const KIND: &'static str = "a WSGI application";
    const HINT: &'static str = "write \"module:callable\" or the path of a script";

    fn parse(text: &str) -> Result<Self, String> {
        let (source, callable) = match text.rsplit_once(':') {
            Some((source, callable)) if !callable.contains('/') => (source, Some(callable)),
            Some(_) | None => (text, None),
        };
        let source = Source::parse(source)?;
        if let Some(callable) = callable.filter(|callable| !is_dotted_name(callable)) {
            return Err(format!(
                "{callable:?} is not the name of a callable, such as \"application\" or \
                 \"site.application\""
            ));
        }
        Ok(Self { source, callable: callable.map(str::to_owned) })
    }

    fn text(&self) -> String {
        match &self.callable {
            Some(callable) => format!("{}:{callable}", self.source.text()),
            None => self.source.text(),
        }
    }

    fn relative_to(self, directory: &Path) -> Self {
        let source = match self.source {
            Source::Module(name) => Source::Module(name),
            // Without what is the same: `./` only said that it is a path.
            Source::Script(path) => Source::Script(directory.join(path).components().collect()),
        };
        Self { source, ..self }
    }
}

/// Whether `text` is names with a dot between two, each as Python has them.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|name| {
        let is_inside = |letter: char| letter == '_' || letter.is_alphanumeric();
        name.chars().all(is_inside) && name.starts_with(|first: char| !first.is_numeric())
    })
}

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::*;

    #[test]
    fn a_module_or_a_script_is_named_with_or_without_a_callable() {
        for text in [
            "wsgi",
            "site.wsgi:application",
            "site_2.wsgi:make.app",
            "überall:app",
            "/srv/site/site.wsgi",
            "/srv/site/site.wsgi:app",
            "bin/site",
            "/srv/a:b/site.py",
            "./site.wsgi",
            "wsgi.py:app",
        ] {
            check_text::<WsgiApplication>(text, Ok(text));
        }
    }

    #[test]
    fn a_worker_is_told_the_callable_always() {
        let check = |text: &str, script: Option<&str>, argument: &str| {
            let application = WsgiApplication::parse(text).unwrap().relative_to(Path::new("/etc"));
            assert_eq!(application.script(), script.map(Path::new), "{text}");
            assert_eq!(application.argument(), argument);
        };
        check("site.wsgi", None, "site.wsgi:application");
        check("site:app.py", None, "site:app.py");
        check("a.py", Some("/etc/a.py"), "/etc/a.py:application");
        check("./a.wsgi:app", Some("/etc/a.wsgi"), "/etc/a.wsgi:app");
        check("/srv/a:b/c:app", Some("/srv/a:b/c"), "/srv/a:b/c:app");
        check("/srv/a:b/c.py", Some("/srv/a:b/c.py"), "/srv/a:b/c.py:application");
    }

    #[test]
    fn what_is_neither_is_refused() {
        let no_module = "no module is named: write \"module:callable\", such as \
                         \"site.wsgi:application\", or the path of a script";
        for text in ["", ":", ":app"] {
            check_text::<WsgiApplication>(text, Err(no_module));
        }
        for text in ["a b", "a b:c", "a..b", ".a", "a.", "2a", "a-b:app", "a:b:c"] {
            let source = text.rsplit_once(':').map_or(text, |(source, _)| source);
            let message = format!(
                "{source:?} is neither a module, such as \"site.wsgi\", nor a script, whose path \
                 has a \"/\" or ends in \".py\""
            );
            check_text::<WsgiApplication>(text, Err(&message));
        }
        for callable in ["", "create()", "a b", "a.", "1"] {
            let message = format!(
                "{callable:?} is not the name of a callable, such as \"application\" or \
                 \"site.application\""
            );
            check_text::<WsgiApplication>(&format!("site.wsgi:{callable}"), Err(&message));
            check_text::<WsgiApplication>(&format!("/srv/site.wsgi:{callable}"), Err(&message));
        }
        let message = "\"/srv/\" is a folder: name the script in it, such as \"/srv/wsgi.py\"";
        check_text::<WsgiApplication>("/srv/", Err(message));
        check_text::<WsgiApplication>("/srv/:app", Err(message));
    }
}
