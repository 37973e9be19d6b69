//! `server.watch`: a reload when a configuration file changes.
//!
//! Folders are watched, not files, because editors replace files; a new file that an `include`
//! would find counts as well. A change is acted on once nothing has changed for a while, so that
//! a file is read when whoever writes it has finished.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use ostler_supervisor::{Handle, ReloadError};
use tokio::sync::mpsc;

/// How long nothing may change before a change is acted on.
const QUIET: Duration = Duration::from_millis(300);

/// Reloads when a watched file changes. Nothing is watched, and costs nothing, without
/// `server.watch`.
pub(crate) async fn follow(handle: Handle) -> Infallible {
    let mut published = handle.published();
    let mut watch = Watch::new(published.borrow_and_update().watched.clone());
    let mut was_busy = false;
    loop {
        tokio::select! {
            changed = published.changed() => {
                if changed.is_err() {
                    // The supervisor ends, and this with it.
                    std::future::pending::<()>().await;
                }
                watch = watch.follow(&published.borrow_and_update().watched);
            }
            () = watch.change() => {
                if !was_busy {
                    tracing::info!("configuration_changed");
                }
                let outcome = handle.reload(false).await;
                was_busy = matches!(outcome, Err(ReloadError::Busy));
                if was_busy {
                    // The other reload may have read the files before they changed.
                    watch.change_is_due();
                } else if let Err(error) = outcome {
                    tracing::debug!(%error, "watched_reload_failed");
                }
            }
        }
    }
}

/// The folders of some files, watched.
#[derive(Debug)]
struct Watch {
    files: Vec<PathBuf>,
    /// Something changed, and nobody was told.
    is_pending: bool,
    changes: mpsc::Receiver<()>,
    sender: mpsc::Sender<()>,
    // Its thread ends with it.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    fn new(files: Vec<PathBuf>) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let watcher = if files.is_empty() { None } else { watcher(&files, sender.clone()) };
        Self { files, is_pending: false, changes, sender, _watcher: watcher }
    }

    /// Watches these files from here on. A change that nobody was told of is not lost, unless no
    /// file is watched any more.
    fn follow(mut self, files: &[PathBuf]) -> Self {
        if self.files == files {
            return self;
        }
        // The new one watches before the old one ends.
        let next = Self::new(files.to_vec());
        let is_pending = self.is_pending || self.changes.try_recv().is_ok();
        if is_pending && !files.is_empty() {
            next.change_is_due();
        }
        next
    }

    /// Has the next wait for a change end as if there had been one.
    fn change_is_due(&self) {
        // Full means that there is one.
        let (Ok(()) | Err(_)) = self.sender.try_send(());
    }

    /// Waits until something has changed and then nothing has for a while. Cancel safe.
    async fn change(&mut self) {
        if !self.is_pending {
            self.changes.recv().await;
            self.is_pending = true;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changes.recv()).await {}
        self.is_pending = false;
    }
}

/// Starts to watch. What cannot be watched is logged: the server runs without it.
fn watcher(files: &[PathBuf], changes: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let named: BTreeSet<PathBuf> = files.iter().cloned().collect();
    let folders: BTreeSet<&Path> =
        files.iter().filter_map(|file| file.parent()).map(here).collect();
    let notice = move |event: notify::Result<Event>| {
        let is_change = event.is_ok_and(|event| concerns(&event, &named));
        if is_change {
            // Full means that a change is to be acted on already.
            let (Ok(()) | Err(_)) = changes.try_send(());
        }
    };
    let watching = notify::recommended_watcher(notice).and_then(|mut watcher| {
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watching.inspect_err(|error| tracing::warn!(%error, "configuration_not_watched")).ok()
}

/// The folder of a file that was named without one.
fn here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Whether an event says that one of the files, or one that belongs to them, is another now.
fn concerns(event: &Event, named: &BTreeSet<PathBuf>) -> bool {
    let is_change = event.kind.is_create() || event.kind.is_modify() || event.kind.is_remove();
    is_change
        && event.paths.iter().any(|path| {
            let is_toml = path.extension().is_some_and(|extension| extension == "toml");
            is_toml || named.contains(path)
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_file_that_is_replaced_and_a_new_one_beside_it_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ostler.toml");
        fs::write(&file, "").unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        fs::write(dir.path().join("new"), "a = 1").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        watch.change().await;
        fs::write(dir.path().join("site.toml"), "a = 1").unwrap();
        watch.change().await;
    }

    #[tokio::test]
    async fn a_change_outlives_a_wait_that_is_given_up_and_other_files() {
        let mut watch = Watch::new(vec![PathBuf::from("/nonexistent/a")]);
        watch.change_is_due();
        tokio::time::timeout(Duration::ZERO, watch.change()).await.unwrap_err();
        watch = watch.follow(&[PathBuf::from("/nonexistent/a")]);
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, watch.change()).await.unwrap();

        watch.change_is_due();
        watch = watch.follow(&[PathBuf::from("/nonexistent/b")]);
        tokio::time::timeout(patience, watch.change()).await.unwrap();
        watch.change_is_due();
        assert!(watch.follow(&[]).changes.is_empty());
    }

    #[test]
    fn reading_and_other_files_are_no_change() {
        use notify::EventKind;
        use notify::event::{AccessKind, CreateKind};

        let named = BTreeSet::from([PathBuf::from("/a/conf")]);
        let event = |kind, path: &str| Event::new(kind).add_path(PathBuf::from(path));
        let create = EventKind::Create(CreateKind::File);
        assert!(concerns(&event(create, "/a/conf"), &named));
        assert!(concerns(&event(create, "/a/site.toml"), &named));
        assert!(!concerns(&event(create, "/a/log"), &named));
        assert!(!concerns(&event(EventKind::Access(AccessKind::Read), "/a/conf"), &named));
    }
}
