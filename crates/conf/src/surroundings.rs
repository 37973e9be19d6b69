//! What a configuration depends on besides its files: the environment, the machine, the user.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;

/// Everything outside the files that a value or a default can come from.
///
/// Read once at the edge, so that decoding is the same for the same input.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// For `${NAME}`.
    pub(crate) variables: BTreeMap<String, String>,
    /// Processors this process may use.
    pub(crate) cpus: usize,
    /// Effective user id.
    pub(crate) uid: u32,
    /// The folder for temporary files.
    pub(crate) temporary: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn here() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
            uid: rustix::process::geteuid().as_raw(),
            temporary: std::env::temp_dir(),
        }
    }

    /// The default of `server.runtime-dir`: a folder that only this user writes to.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        let xdg = self.variables.get("XDG_RUNTIME_DIR").map(PathBuf::from);
        match (self.uid, xdg.filter(|path| path.is_absolute())) {
            (0, _) => PathBuf::from("/run/ostler"),
            (_, Some(directory)) => directory.join("ostler"),
            (uid, None) => self.temporary.join(format!("ostler-{uid}")),
        }
    }
}
