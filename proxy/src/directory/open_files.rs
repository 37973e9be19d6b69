//! Files that stay open between requests.
//!
//! Opening a file beneath a directory costs more than all the rest of sending a small one. A
//! file is therefore kept open for a second. Whether it is still the same file is asked of the
//! kernel at every request: one that was written to, removed or replaced by another of the same
//! name is opened anew at once. A second is how long it takes at most until a change is seen that
//! leaves the file itself as it was: a folder above it was renamed, or a symbolic link switched.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::conditions::Validators;
use super::media_type;

/// How long a file is used without looking for it by its name again.
const KEPT: Duration = Duration::from_secs(1);
/// Most files kept open of a directory: those of a large page. One more closes the one that was
/// asked for the longest time ago.
const MOST_FILES: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// A file that is open, and what every answer says of it.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) validators: Validators,
    pub(super) media_type: String,
    /// When it was last changed, by the file system's own count.
    changed: (i64, i64),
    opened: Instant,
}

impl OpenFile {
    /// Describes a file that was found at `path`.
    pub(super) fn new(file: File, about: &std::fs::Metadata, path: &[u8], opened: Instant) -> Self {
        Self {
            file,
            size: about.size(),
            validators: Validators::of(about),
            media_type: media_type(path),
            changed: (about.ctime(), about.ctime_nsec()),
            opened,
        }
    }

    /// Whether the file is as it was when it was opened, and still has a name.
    fn is_same(&self) -> io::Result<bool> {
        let about = self.file.metadata()?;
        // Writing, truncating, linking, renaming and removing all change `ctime`; the size tells
        // of most writings within one tick of a coarse clock.
        Ok((about.ctime(), about.ctime_nsec()) == self.changed && about.size() == self.size)
    }

    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) < KEPT
    }
}

/// The open files of a directory, by decoded path.
#[derive(Debug)]
pub(super) struct OpenFiles(Mutex<LruCache<Box<[u8]>, Arc<OpenFile>>>);

impl OpenFiles {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MOST_FILES)))
    }

    /// Returns the file that is open for a path, if it can still be used.
    pub(super) fn get(&self, path: &[u8], now: Instant) -> Option<Arc<OpenFile>> {
        let found = self.files().get(path).filter(|file| file.is_recent(now)).map(Arc::clone)?;
        found.is_same().is_ok_and(|is_same| is_same).then_some(found)
    }

    /// Keeps a file open for requests to come.
    pub(super) fn keep(&self, path: &[u8], file: &Arc<OpenFile>) {
        self.files().put(path.into(), Arc::clone(file));
    }

    /// Closes what has been open for long enough, so that the space of a removed file is free.
    pub(super) fn close_old(&self, now: Instant) {
        let mut files = self.files();
        let is_old = |entry: &(_, &Arc<OpenFile>)| !entry.1.is_recent(now);
        let old: Vec<Box<[u8]>> =
            files.iter().filter(is_old).map(|(path, _)| path.clone()).collect();
        for path in old {
            files.pop(&path);
        }
    }

    /// Closes all files: descriptors are short.
    pub(super) fn close_all(&self) {
        self.files().clear();
    }

    fn files(&self) -> MutexGuard<'_, LruCache<Box<[u8]>, Arc<OpenFile>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
