//! `reload-on-change`: the workers of a pool are replaced when its application changes.
//!
//! What the kernel says of the folders is only a reason to look: a path has changed when it, or
//! what it leads to, is another file or has another time than before. So it does not matter
//! whether it was touched, written, replaced or is a symbolic link that was switched, also
//! somewhere in the middle of the path. A path that is not there is waited for; that it went is
//! no change yet. Folders are watched anew after each look, because links may lead elsewhere.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use ostler_supervisor::{Handle, Watched};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How long nothing may change before a change is acted on: a deployment is more than one step.
const QUIET: Duration = Duration::from_millis(300);

/// How long a change is waited with at most, while more come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells the supervisor of every change. Costs nothing without `reload-on-change`.
pub(crate) async fn follow(handle: Handle) -> Infallible {
    let mut published = handle.published();
    let mut watch = Watch::new(&published.borrow_and_update().applications);
    loop {
        // At first, too: a path may have changed before it was watched.
        for pool in watch.look() {
            tracing::info!(pool, "application_changed");
            handle.application_changed(pool).await;
        }
        tokio::select! {
            changed = published.changed() => {
                if changed.is_err() {
                    // The supervisor ends, and this with it.
                    std::future::pending::<()>().await;
                }
                watch.follow(&published.borrow_and_update().applications);
            }
            () = watch.stirred() => {}
        }
    }
}

/// What identifies a file at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print([i64; 4]);

impl Print {
    fn of(metadata: &Metadata) -> Self {
        let number = |number: u64| number.cast_signed();
        let (device, file) = (number(metadata.dev()), number(metadata.ino()));
        Self([device, file, metadata.mtime(), metadata.mtime_nsec()])
    }
}

/// A path of a pool, and what was there last: the path itself, and what it leads to.
#[derive(Debug)]
struct Watchee {
    pool: String,
    path: PathBuf,
    seen: Option<(Print, Print)>,
}

impl Watchee {
    fn new(pool: &str, path: &Path) -> Self {
        let mut watchee = Self { pool: pool.to_owned(), path: path.to_owned(), seen: None };
        watchee.look();
        watchee
    }

    /// Returns whether something else is there than before.
    fn look(&mut self) -> bool {
        let print = |metadata: Metadata| Print::of(&metadata);
        let itself = self.path.symlink_metadata().map(print);
        let target = self.path.metadata().map(print);
        let (Ok(itself), Ok(target)) = (itself, target) else { return false };
        let found = Some((itself, target));
        std::mem::replace(&mut self.seen, found) != found
    }
}

/// What the kernel is asked to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scope {
    folders: BTreeSet<PathBuf>,
    /// Names whose events matter.
    names: BTreeSet<PathBuf>,
}

impl Scope {
    fn add(&mut self, path: &Path) {
        if let Ok(target) = path.canonicalize() {
            self.add_name(&target);
        }
        // Each part of the path that is a link, or missing, may become another one.
        for part in path.ancestors().filter(|part| part.parent().is_some()) {
            let is_link = part.symlink_metadata().is_ok_and(|it| it.is_symlink());
            if part == path || is_link || !part.exists() {
                self.add_name(part);
            }
        }
    }

    /// A name is watched in the folder that it is in; in the nearest where that is not there.
    fn add_name(&mut self, name: &Path) {
        let parents = name.ancestors().skip(1);
        if let Some(folder) = parents.into_iter().find(|parent| parent.is_dir()) {
            self.folders.insert(folder.to_owned());
            // The kernel knows a folder that was named in two ways by one of them.
            if let (Ok(real), Ok(rest)) = (folder.canonicalize(), name.strip_prefix(folder)) {
                self.names.insert(real.join(rest));
            }
            self.names.insert(name.to_owned());
        }
    }
}

/// All paths of all pools, and the kernel's watch over them.
#[derive(Debug)]
struct Watch {
    watchees: Vec<Watchee>,
    scope: Scope,
    stirs: mpsc::Receiver<()>,
    sender: mpsc::Sender<()>,
    /// Something stirred, and nobody has looked.
    is_stirred: bool,
    // Its thread ends with it.
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    fn new(applications: &[Watched]) -> Self {
        let (sender, stirs) = mpsc::channel(1);
        let scope = Scope::default();
        let watchees = Vec::new();
        let mut watch = Self { watchees, scope, stirs, sender, is_stirred: false, watcher: None };
        watch.follow(applications);
        watch
    }

    /// Watches these from here on. What was watched before is not looked at anew, so that a
    /// change is not lost.
    fn follow(&mut self, applications: &[Watched]) {
        let mut before = std::mem::take(&mut self.watchees);
        for Watched { pool, paths } in applications {
            for path in paths {
                let known = before.iter().position(|it| it.pool == *pool && it.path == *path);
                let watchee = known.map(|at| before.swap_remove(at));
                self.watchees.push(watchee.unwrap_or_else(|| Watchee::new(pool, path)));
            }
        }
        self.rearm();
    }

    /// Waits until something has stirred and then nothing has for a while. Cancel safe.
    async fn stirred(&mut self) {
        if !self.is_stirred {
            self.stirs.recv().await;
            self.is_stirred = true;
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if timeout(QUIET, self.stirs.recv()).await.is_err() {
                break;
            }
        }
        self.is_stirred = false;
    }

    /// Returns the pools whose application is another one than before.
    fn look(&mut self) -> BTreeSet<String> {
        // Before looking: what changes after the look is seen by the new watch.
        self.rearm();
        let changed = self.watchees.iter_mut().filter_map(|it| it.look().then(|| it.pool.clone()));
        changed.collect()
    }

    /// Has the kernel watch where the paths lead at this moment.
    fn rearm(&mut self) {
        let mut scope = Scope::default();
        self.watchees.iter().for_each(|it| scope.add(&it.path));
        if scope == self.scope {
            return;
        }
        self.watcher = watcher(&scope, self.sender.clone());
        self.scope = scope;
    }
}

/// Starts to watch. What cannot be watched is logged: the server runs without it.
fn watcher(scope: &Scope, stirs: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    if scope.folders.is_empty() {
        return None;
    }
    let names = scope.names.clone();
    let notice = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| concerns(&event, &names)) {
            // Full means that a look is due already.
            let (Ok(()) | Err(_)) = stirs.try_send(());
        }
    };
    let watching = notify::recommended_watcher(notice).and_then(|mut watcher| {
        for folder in &scope.folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watching.inspect_err(|error| tracing::warn!(%error, "application_not_watched")).ok()
}

/// Whether an event is a reason to look.
fn concerns(event: &Event, names: &BTreeSet<PathBuf>) -> bool {
    let is_change = event.kind.is_create() || event.kind.is_modify() || event.kind.is_remove();
    event.need_rescan() || (is_change && event.paths.iter().any(|path| names.contains(path)))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_file_that_is_touched_or_replaced_is_noticed_and_its_neighbour_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app");
        fs::write(&file, "").unwrap();
        let mut watch = watch(&file);
        touch(&file);
        noticed(&mut watch).await;
        fs::write(dir.path().join("new"), "").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        noticed(&mut watch).await;
        fs::write(dir.path().join("neighbour"), "").unwrap();
        assert!(watch.look().is_empty());
        fs::remove_file(&file).unwrap();
        watch.stirred().await;
        assert!(watch.look().is_empty(), "gone is no change yet");
    }

    #[tokio::test]
    async fn a_link_that_is_switched_is_noticed_wherever_it_stands_and_so_is_its_target() {
        let dir = tempfile::tempdir().unwrap();
        for release in ["one", "two"] {
            fs::create_dir(dir.path().join(release)).unwrap();
            fs::write(dir.path().join(release).join("app"), "").unwrap();
        }
        let link = dir.path().join("current");
        symlink("one", &link).unwrap();
        let (mut whole, mut inside) = (watch(&link), watch(&link.join("app")));
        symlink("two", dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), &link).unwrap();
        noticed(&mut whole).await;
        noticed(&mut inside).await;
        // The new target is watched from here on, the old one is not any more.
        touch(&dir.path().join("two/app"));
        noticed(&mut inside).await;
        touch(&dir.path().join("one/app"));
        assert!(inside.look().is_empty());
    }

    #[tokio::test]
    async fn a_path_that_does_not_exist_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = watch(&dir.path().join("a/b/app"));
        fs::create_dir(dir.path().join("a")).unwrap();
        watch.stirred().await;
        assert!(watch.look().is_empty());
        fs::create_dir(dir.path().join("a/b")).unwrap();
        watch.stirred().await;
        assert!(watch.look().is_empty());
        fs::write(dir.path().join("a/b/app"), "").unwrap();
        noticed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_change_outlives_another_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app");
        fs::write(&file, "").unwrap();
        let mut watch = watch(&file);
        touch(&file);
        let both = Watched { pool: "web".to_owned(), paths: vec![dir.path().into(), file] };
        watch.follow(&[both]);
        assert_eq!(watch.look(), BTreeSet::from(["web".to_owned()]));
        watch.follow(&[]);
        assert!(watch.watcher.is_none() && watch.look().is_empty());
    }

    fn watch(path: &Path) -> Watch {
        Watch::new(&[Watched { pool: "web".to_owned(), paths: vec![path.to_owned()] }])
    }

    /// A time that no other touch of this test has.
    fn touch(path: &Path) {
        let file = File::options().append(true).open(path).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        let later = before.max(SystemTime::UNIX_EPOCH) + Duration::from_secs(1);
        file.set_modified(later).unwrap();
    }

    async fn noticed(watch: &mut Watch) {
        let look = async {
            while watch.look().is_empty() {
                watch.stirred().await;
            }
        };
        timeout(DEADLINE, look).await.expect("the change is noticed");
    }
}
