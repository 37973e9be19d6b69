//! The file that the history is kept in: opened and locked here, written by the proxy process,
//! which needs no right to its folder for that.
//!
//! A path that names something else than a history of ours is refused, so that no mistake costs a
//! file. One that cannot be had, as on a full disk, costs the history alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use ostler_conf::StatusConfig;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

/// How every history begins.
const MAGIC: [u8; 8] = *b"OSTLHIST";

/// The default folder, which is made where it is missing.
const DEFAULT_FOLDER: &str = "/var/lib/ostler";

/// How long the lock is waited for: the proxy process of a supervisor that was killed has it until
/// it notices.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// How often it is tried.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
enum HistoryError {
    #[error("another supervisor uses it")]
    Locked,
    #[error("it is not a history of Ostler: remove it, or name another file")]
    Foreign,
    #[error("it belongs to another user (uid {0}): remove it, or name another file")]
    Owner(u32),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Opens the file at its size. `None`: no history is kept, as configured, or because it cannot be,
/// which is logged.
///
/// # Errors
///
/// What the operator has to change, in words.
pub(crate) fn open(status: &StatusConfig) -> Result<Option<OwnedFd>, String> {
    let (path, size) = (&status.history_file, status.history_size.0);
    if size == 0 {
        return Ok(None);
    }
    match open_at(path, size, pause) {
        Ok(file) => Ok(Some(file.into())),
        Err(HistoryError::Io(error)) => {
            tracing::error!(path = %path.display(), %error, "history_unusable");
            Ok(None)
        }
        Err(error) => Err(format!("status.history-file: {}: {error}", path.display())),
    }
}

fn open_at(path: &Path, size: u64, pause: impl FnMut(Duration)) -> Result<File, HistoryError> {
    if let Some(folder) = path.parent().filter(|folder| *folder == Path::new(DEFAULT_FOLDER)) {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(number) if number == rustix::io::Errno::LOOP.raw_os_error() => HistoryError::Foreign,
        _ => HistoryError::Io(error),
    })?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(HistoryError::Foreign);
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(HistoryError::Owner(about.uid()));
    }
    lock(&file, LOCK_WAIT, pause)?;
    if about.len() != 0 && !is_ours(&file) {
        return Err(HistoryError::Foreign);
    }
    resize(&file, about.len(), size)?;
    Ok(file)
}

/// Locks the file for as long as somebody has it open, the proxy process too.
/// `pause` lets so much time pass before the next look.
fn lock(file: &File, wait: Duration, mut pause: impl FnMut(Duration)) -> Result<(), HistoryError> {
    let mut waited = Duration::ZERO;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if waited < wait => {
                pause(LOOK_EVERY);
                waited += LOOK_EVERY;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(HistoryError::Locked),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nobody tells when a lock is free")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Whether a file that is not empty is a history; one that was never written to is all zeros.
fn is_ours(file: &File) -> bool {
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).is_ok() && (magic == MAGIC || magic == [0; 8])
}

/// Gives the file its size and its place on the disk, so that a disk that is full is noticed now.
/// Another size is another file.
fn resize(file: &File, old: u64, new: u64) -> io::Result<()> {
    if old != new {
        if old != 0 {
            tracing::warn!(old_bytes = old, bytes = new, "history_begun_anew");
        }
        file.set_len(0)?;
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, new) {
        Ok(()) => Ok(()),
        // Not every file system can; then the disk must have room when it is written.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(new),
        Err(error) => {
            // What was taken of a full disk is given back.
            file.set_len(0)?;
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const SIZE: u64 = 2 * 1024 * 1024;

    #[test]
    fn the_file_is_made_private_and_of_its_size_and_belongs_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let first = open_at(&path, SIZE, never).unwrap();
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.len(), about.permissions().mode() & 0o777), (SIZE, 0o600));
        assert!(SIZE <= about.blocks() * 512, "its place is taken");
        let mut waited = Duration::ZERO;
        let error = open_at(&path, SIZE, |time| waited += time).unwrap_err();
        assert_eq!((error.to_string().as_str(), waited), ("another supervisor uses it", LOCK_WAIT));
        first.write_all_at(b"OSTLHIST and more", 0).unwrap();
        // As a process takes its time to end.
        let mut killed = Some(first);
        let kept = open_at(&path, SIZE, |_| drop(killed.take())).unwrap();
        assert!(killed.is_none());
        let mut start = [0; 8];
        kept.read_exact_at(&mut start, 0).unwrap();
        assert_eq!(start, MAGIC);
        drop(kept);
        let resized = open_at(&path, 2 * SIZE, never).unwrap();
        resized.read_exact_at(&mut start, 0).unwrap();
        assert_eq!((start, resized.metadata().unwrap().len()), ([0; 8], 2 * SIZE));
    }

    #[test]
    fn what_is_not_a_history_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("valuable");
        for content in ["short", "a text that somebody needs"] {
            fs::write(&path, content).unwrap();
            let error = open_at(&path, SIZE, never).unwrap_err().to_string();
            assert!(error.starts_with("it is not a history of Ostler"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(open_at(&link, SIZE, never), Err(HistoryError::Foreign)));
        let missing = folder.path().join("no/such/folder");
        assert!(matches!(open_at(&missing, SIZE, never), Err(HistoryError::Io(_))));
        assert!(matches!(open_at(Path::new("/dev/null"), SIZE, never), Err(HistoryError::Foreign)));
    }

    fn never(time: Duration) {
        panic!("a lock that is free is not waited for, not even {time:?}");
    }
}
