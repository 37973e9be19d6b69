//! The Python that every server runs: one virtual environment, and two applications.
//!
//! All servers have the same interpreter, packages and database, so that what differs between
//! them is theirs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::build::workspace;
use crate::process::output;
use crate::scenario::Wsgi;

/// Debian's, which its `mod_wsgi` is compiled against.
const PYTHON: &str = "/usr/bin/python3";

/// What is in the virtual environment.
const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The application without a framework, and its name in a server's folder.
const PLAIN: (&str, &str) = ("load.py", include_str!("servers/python/load.py"));

/// The variable that names the bookshop's data directory.
const DATA: &str = "BOOKSHOP_DATA";

/// The virtual environment, and what is made with it.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    /// The virtual environment.
    folder: PathBuf,
    /// The database of the bookshop, which each server gets a copy of.
    data: PathBuf,
}

/// An application as servers are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    /// The module, and the callable in it.
    pub(crate) name: &'static str,
    /// Where the module is.
    pub(crate) folder: PathBuf,
    /// The module's file, for servers that are given a script.
    pub(crate) script: PathBuf,
    /// What it wants of its environment: a name and a value.
    pub(crate) variable: (&'static str, String),
}

impl Python {
    pub(crate) fn beneath(tools: &Path) -> Self {
        Self { folder: tools.join("python"), data: tools.join("bookshop") }
    }

    /// The virtual environment's folder.
    pub(crate) fn home(&self) -> &Path {
        &self.folder
    }

    /// A program of the virtual environment.
    pub(crate) fn program(&self, name: &str) -> String {
        self.folder.join("bin").join(name).display().to_string()
    }

    /// Sees to it that the virtual environment has what it should have, and the bookshop books.
    pub(crate) fn install(&self) -> Result<()> {
        let installed = self.folder.join("installed.txt");
        if fs::read_to_string(&installed).ok().as_deref() != Some(REQUIREMENTS) {
            let folder = self.folder.display().to_string();
            output(&[PYTHON, "-m", "venv", "--clear", &folder])?;
            let wanted = self.folder.join("requirements.txt");
            fs::write(&wanted, REQUIREMENTS)?;
            let wanted = wanted.display().to_string();
            output(&[&self.program("pip"), "install", "--quiet", "-r", &wanted])?;
            fs::rename(&wanted, &installed)?;
        }
        self.fill().context("cannot fill the bookshop")
    }

    /// What a package of it says its version is.
    pub(crate) fn version(&self, package: &str) -> Result<String> {
        let code = "import importlib.metadata, sys; \
            print(sys.argv[1], importlib.metadata.version(sys.argv[1]))";
        output(&[&self.program("python"), "-c", code, package])
    }

    /// What all of them run.
    pub(crate) fn versions(&self) -> Result<String> {
        let code = "import django, platform; \
            print('CPython', platform.python_version() + ', Django', django.__version__)";
        let said = output(&[&self.program("python"), "-c", code])?;
        Ok(said.trim().to_owned())
    }

    /// Makes the database anew: its tables may have changed.
    fn fill(&self) -> Result<()> {
        if self.data.exists() {
            fs::remove_dir_all(&self.data)?;
        }
        let data = format!("{DATA}={}", self.data.display());
        let manage = project().join("manage.py").display().to_string();
        for command in ["migrate", "fill"] {
            output(&["env", &data, &self.program("python"), &manage, command, "-v0"])?;
        }
        Ok(())
    }

    /// Writes what an application needs into a server's folder.
    pub(crate) fn write(&self, wsgi: Wsgi, folder: &Path) -> Result<()> {
        match wsgi {
            Wsgi::Plain => fs::write(folder.join(PLAIN.0), PLAIN.1)?,
            Wsgi::Django => copy(&self.data, &folder.join("data"))?,
        }
        Ok(())
    }
}

impl Application {
    /// An application for a server with this folder.
    pub(crate) fn of(wsgi: Wsgi, folder: &Path) -> Self {
        let variable = (DATA, folder.join("data").display().to_string());
        let (name, folder, script) = match wsgi {
            Wsgi::Plain => ("load:application", folder.to_owned(), PLAIN.0),
            Wsgi::Django => ("bookshop.wsgi:application", project(), "bookshop/wsgi.py"),
        };
        Self { name, script: folder.join(script), folder, variable }
    }
}

/// The folder of the bookshop.
fn project() -> PathBuf {
    workspace().join("app/python/examples/django")
}

/// Copies the files of a folder for servers that give up root: they write to a database.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, Permissions::from_mode(0o777))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let path = to.join(entry.file_name());
        fs::copy(entry.path(), &path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    }
    Ok(())
}
