//! Pools with `wsgi`: what starts the operator's own interpreter as a worker, and what must be
//! there for it.
//!
//! The interpreter is told to load the extension module `libostler_python.so`, which is shipped
//! beside this program, and the module does the rest: nothing has to be installed into the
//! interpreter or its virtual environment.

mod trial;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_conf::{ConfigError, ConfigErrors, Loaded, PoolConfig, WsgiApplication};

use crate::identity::Identity;
pub use trial::check_imports;

/// The extension module.
const LIBRARY: &str = "libostler_python.so";

/// What the interpreter runs: it loads the extension module that its first argument names. One
/// that is too old for the module is told so first; else it would complain of a missing symbol.
const BOOTSTRAP: &str = "import importlib.util as u,sys;\
    v=sys.version.split()[0];\
    sys.version_info<(3,9)and sys.exit('Python 3.9 or newer is needed, this is '+v);\
    s=u.spec_from_file_location(\"ostler_python._native\",sys.argv.pop(1));\
    m=u.module_from_spec(s);sys.modules[s.name]=m;s.loader.exec_module(m);m.main()";

/// What the kernel appends to the path of a program whose file was replaced since it started.
const REPLACED: &[u8] = b" (deleted)";

/// Why there is no extension module to load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LibraryError {
    #[error("cannot find out where this program is: {0}")]
    Program(#[source] io::Error),
    #[error(
        "pools with `wsgi` need {LIBRARY}, and there is neither {beside} nor {beneath}: copy it \
         to one of these, or build it beside the program with `cargo build -p ostler-python`"
    )]
    Missing { beside: PathBuf, beneath: PathBuf },
}

/// Returns the command of a worker with a Python application; `None` for another pool.
pub(crate) fn command(pool: &PoolConfig) -> Result<Option<Vec<String>>, LibraryError> {
    let Some(application) = &pool.wsgi else { return Ok(None) };
    let library = library()?;
    let options = options(pool);
    Ok(Some(words(pool, &library, options, application)))
}

/// All words of a command.
fn words(
    pool: &PoolConfig,
    library: &Path,
    options: Vec<String>,
    application: &WsgiApplication,
) -> Vec<String> {
    let interpreter = [&pool.python, "-X", "utf8", "-c", BOOTSTRAP].map(str::to_owned);
    let mut words = Vec::from(interpreter);
    words.push(library.to_string_lossy().into_owned());
    words.extend(options);
    words.push(application.argument());
    words
}

/// What the module is told beside the application.
fn options(pool: &PoolConfig) -> Vec<String> {
    let seconds = |time: &Duration| time.as_secs_f64().to_string();
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let folders = pool.python_path.iter().map(|folder| ("--python-path", path(folder)));
    let mount = Some(pool.mount.as_str()).filter(|mount| *mount != "/");
    let mount = mount.map(|mount| ("--mount", mount.to_owned()));
    let interval = pool.switch_interval.iter().map(|time| ("--switch-interval", seconds(time)));
    let timeout = pool.interrupt_timeout.iter().map(|time| ("--interrupt-timeout", seconds(time)));
    let scripts = pool.preload.iter().map(|script| ("--preload", path(script)));
    let costs = pool.cost.iter().map(|cost| ("--cost", cost.as_str().to_owned()));
    let all = folders.chain(mount).chain(interval).chain(timeout).chain(scripts).chain(costs);
    all.flat_map(|(option, value)| [option.to_owned(), value]).collect()
}

/// Finds the extension module of this program.
fn library() -> Result<PathBuf, LibraryError> {
    let program = std::env::current_exe().map_err(LibraryError::Program)?;
    let [beside, beneath] = library_places(&program);
    let found = [&beside, &beneath].into_iter().find(|path| path.is_file()).cloned();
    found.ok_or(LibraryError::Missing { beside, beneath })
}

/// Where the extension module of `program` may be: in its folder, and in `lib/ostler` beside that.
fn library_places(program: &Path) -> [PathBuf; 2] {
    let bytes = program.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(REPLACED).unwrap_or(bytes);
    let program = Path::new(std::ffi::OsStr::from_bytes(bytes));
    let folder = program.parent().unwrap_or_else(|| Path::new("/"));
    let prefix = folder.parent().unwrap_or_else(|| Path::new("/"));
    [folder.join(LIBRARY), prefix.join("lib/ostler").join(LIBRARY)]
}

/// Refuses pools with `wsgi` where there is no extension module.
pub(crate) fn check_library(loaded: &Loaded) -> Result<(), ConfigErrors> {
    refuse(loaded, |pool| match pool.wsgi.as_ref().map(|_| library()) {
        Some(Err(error)) => vec![("wsgi", error.to_string())],
        Some(Ok(_)) | None => Vec::new(),
    })
}

/// Refuses pools with `wsgi` that lack something on this system without which no worker would
/// start: the extension module, the interpreter, a script.
///
/// # Errors
///
/// What is missing, where it is named, and what to do.
pub fn check_pools(loaded: &Loaded) -> Result<(), ConfigErrors> {
    refuse(loaded, |pool| {
        let Some(application) = &pool.wsgi else { return Vec::new() };
        let library = match library() {
            Ok(library) => check_readable(pool, &library),
            Err(error) => Some(error.to_string()),
        };
        let interpreter = check_interpreter(pool).err().map(|message| ("python", message));
        let script = application.script().into_iter().map(|path| ("wsgi", path));
        let scripts = script.chain(pool.preload.iter().map(|path| ("preload", path.as_path())));
        let is_missing = |path: &Path| {
            path.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let missing = scripts.filter(|(_, path)| is_missing(path));
        let missing =
            missing.map(|(key, path)| (key, format!("`{key}`: there is no {}", path.display())));
        let library = library.map(|message| ("wsgi", message));
        library.into_iter().chain(interpreter).chain(missing).collect()
    })
}

/// Puts what is wrong with each pool where its key stands.
fn refuse(
    loaded: &Loaded,
    wrong: impl Fn(&PoolConfig) -> Vec<(&'static str, String)>,
) -> Result<(), ConfigErrors> {
    let pools = loaded.config.pools.iter();
    let errors: Vec<ConfigError> = pools
        .flat_map(|(name, pool)| {
            let wrong = wrong(pool).into_iter();
            wrong.map(|(key, message)| loaded.pool_error(name, key, message))
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

/// Says why the worker's user cannot read the extension module, where it is another user's.
fn check_readable(pool: &PoolConfig, library: &Path) -> Option<String> {
    let identity = Identity::of_pool(pool).ok().flatten()?;
    let closed = identity.kept_out_by(library)?;
    Some(format!(
        "user {:?} cannot read {}, because of the mode of {}: change that, or install Ostler \
         where everybody may read",
        identity.name,
        library.display(),
        closed.display()
    ))
}

/// Says why a pool's interpreter could not be started.
fn check_interpreter(pool: &PoolConfig) -> Result<(), String> {
    let program = Path::new(&pool.python);
    if !pool.python.contains('/') {
        return find_in_path(pool).map(drop).ok_or_else(|| {
            format!("`python`: there is no program {:?} in any folder of PATH", pool.python)
        });
    }
    let shown = program.display();
    match program.metadata() {
        Ok(found) if found.is_dir() => {
            let inside = program.join("bin/python");
            let advice = if is_program(&inside) {
                format!("did you mean \"{}\"?", inside.display())
            } else {
                "name the interpreter in it".to_owned()
            };
            Err(format!("`python`: {shown} is a folder; {advice}"))
        }
        Ok(_) if !is_program(program) => {
            Err(format!("`python`: {shown} is not a program: its mode lets nobody execute it"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("`python`: there is no program {shown}"))
        }
        Err(error) => Err(format!("`python`: {shown}: {error}")),
    }
}

/// Finds the interpreter as the worker's start will, in the `PATH` of the worker's environment.
fn find_in_path(pool: &PoolConfig) -> Option<PathBuf> {
    let configured = pool.environment.get("PATH").map(std::ffi::OsString::from);
    let path = configured.or_else(|| std::env::var_os("PATH"))?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(&pool.python))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
