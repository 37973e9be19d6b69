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
use ostler_supervisor::Handle;
use tokio::sync::mpsc;

/// How long nothing may change before a change is acted on.
const QUIET: Duration = Duration::from_millis(300);

/// Reloads when a watched file changes. Nothing is watched, and costs nothing, without
/// `server.watch`.
pub(crate) async fn follow(handle: Handle) -> Infallible {
    let mut published = handle.published();
    loop {
        let files = published.borrow_and_update().watched.clone();
        let mut watch = Watch::new(&files);
        loop {
            tokio::select! {
                changed = published.changed() => {
                    if changed.is_err() {
                        // The supervisor ends, and this with it.
                        std::future::pending::<()>().await;
                    }
                    break;
                }
                () = watch.change() => {
                    tracing::info!("configuration_changed");
                    if let Err(error) = handle.reload(false).await {
                        tracing::debug!(%error, "watched_reload_failed");
                    }
                }
            }
        }
    }
}

/// The folders of some files, watched.
#[derive(Debug)]
struct Watch {
    changes: mpsc::Receiver<()>,
    // Its thread ends with it.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    fn new(files: &[PathBuf]) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let watcher = if files.is_empty() { None } else { watcher(files, sender) };
        Self { changes, _watcher: watcher }
    }

    /// Waits until something has changed and then nothing has for a while.
    async fn change(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changes.recv()).await {}
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
        let mut watch = Watch::new(std::slice::from_ref(&file));
        fs::write(dir.path().join("new"), "a = 1").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        watch.change().await;
        fs::write(dir.path().join("site.toml"), "a = 1").unwrap();
        watch.change().await;
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
