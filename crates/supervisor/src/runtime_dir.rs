//! The runtime directory: sockets between our own processes, and the lock of the supervisor.
//!
//! ```text
//! ostler.pid      locked while a supervisor runs; holds its process id
//! status.sock     status listener for `ostler status`
//! workers/        0711: the socket of each worker, which is the proxy's user's
//! notify/         0711: the readiness socket of each worker, which is its user's
//! spool/          0700: the proxy's user's; bodies in files without names
//! ```
//!
//! All directories but the last belong to the supervisor's user alone: who could rename something
//! in one could have the supervisor change the mode or owner of any file. In the last one it
//! touches nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::identity::{self, Identity};
use crate::message::WorkerId;

/// Why the runtime directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    /// Another supervisor has the lock.
    #[error("another supervisor uses {path}: process {pid}")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process id, as its file says.
        pid: String,
    },
    /// Somebody else could replace what is in it.
    #[error("{path} belongs to another user (uid {uid})")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A system call failed.
    #[error("cannot set up {path}: {source}")]
    Io {
        /// What could not be made.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct RuntimeDir {
    path: PathBuf,
    _lock: File,
}

impl RuntimeDir {
    /// Makes the directory where it is missing, locks it, and removes what an earlier supervisor
    /// left in it.
    pub(crate) fn prepare(path: &Path) -> Result<Self, RuntimeDirError> {
        make(path, 0o755)?;
        let owner = fs::symlink_metadata(path).map_err(|source| failed(path, source))?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(RuntimeDirError::Foreign { path: path.to_owned(), uid: owner });
        }
        let lock = lock(path)?;
        let dir = Self { path: path.to_owned(), _lock: lock };
        dir.prepare_inside("workers", 0o711)?;
        dir.prepare_inside("notify", 0o711)?;
        Ok(dir)
    }

    /// Makes the directory for spooled bodies, which is the proxy's user's.
    pub(crate) fn prepare_spool(&self, proxy: Option<&Identity>) -> Result<(), RuntimeDirError> {
        self.prepare_inside("spool", 0o700)?;
        let path = self.path.join("spool");
        identity::give(&path, proxy).map_err(|source| failed(&path, source))
    }

    /// Where `ostler status` asks.
    pub(crate) fn status_socket(&self) -> PathBuf {
        self.path.join("status.sock")
    }

    /// Where a worker serves HTTP.
    pub(crate) fn worker_socket(&self, id: &WorkerId) -> PathBuf {
        self.path.join("workers").join(file_name(id))
    }

    /// Where a worker reports that it is ready.
    pub(crate) fn notify_socket(&self, id: &WorkerId) -> PathBuf {
        self.path.join("notify").join(file_name(id))
    }

    fn prepare_inside(&self, name: &str, mode: u32) -> Result<(), RuntimeDirError> {
        let path = self.path.join(name);
        let prepared = remove_if_there(fs::remove_dir_all(&path))
            .and_then(|()| DirBuilder::new().mode(0o700).create(&path))
            .and_then(|()| identity::set_mode(File::open(&path)?, mode));
        prepared.map_err(|source| failed(&path, source))
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = remove_if_there(fs::remove_file(path)) {
        tracing::warn!(path = %path.display(), %error, "remove_failed");
    }
}

fn file_name(id: &WorkerId) -> String {
    format!("{}.{}.{}", id.pool, id.slot, id.generation)
}

fn make(path: &Path, mode: u32) -> Result<(), RuntimeDirError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|source| failed(path, source))
}

/// Locks `ostler.pid` and writes our process id into it. The kernel releases the lock with the
/// process, so a file left behind locks nobody out.
fn lock(directory: &Path) -> Result<File, RuntimeDirError> {
    let path = directory.join("ostler.pid");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path)
        .map_err(|source| failed(&path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            let pid = pid.trim().to_owned();
            return Err(RuntimeDirError::Locked { path: directory.to_owned(), pid });
        }
        Err(error) => return Err(failed(&path, error.into())),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|source| failed(&path, source))?;
    Ok(file)
}

fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn failed(path: &Path, source: io::Error) -> RuntimeDirError {
    RuntimeDirError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_supervisor_is_refused_and_told_of_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = RuntimeDir::prepare(&path).unwrap();
        let error = RuntimeDir::prepare(&path).unwrap_err().to_string();
        let expected =
            format!("another supervisor uses {}: process {}", path.display(), std::process::id());
        assert_eq!(error, expected);
        drop(first);
        RuntimeDir::prepare(&path).unwrap();
    }

    #[test]
    fn modes_are_as_documented_and_stale_sockets_are_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        drop(RuntimeDir::prepare(&path).unwrap());
        let stale = path.join("workers/web.0.1");
        fs::write(&stale, "").unwrap();

        let dir = RuntimeDir::prepare(&path).unwrap();
        dir.prepare_spool(None).unwrap();
        assert!(!stale.exists());
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("workers"), mode("notify")), (0o755, 0o711, 0o711));
        assert_eq!(mode("spool"), 0o700);
    }
}
