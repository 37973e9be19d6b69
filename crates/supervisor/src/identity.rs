//! Who a process runs as.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use ostler_conf::PoolConfig;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

/// A user of this system, as the user database says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Login name.
    pub(crate) name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

/// Why a user or a group cannot be found.
#[derive(Debug)]
pub(crate) enum IdentityError {
    /// The user database has no such user.
    Unknown(String),
    /// The user database cannot be read.
    Lookup(String, io::Error),
    /// The group database has no such group.
    UnknownGroup(String),
    /// The group database cannot be read.
    LookupGroup(String, io::Error),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no user {name:?} on this system"),
            Self::Lookup(name, error) => write!(f, "cannot look up user {name:?}: {error}"),
            Self::UnknownGroup(name) => write!(f, "there is no group {name:?} on this system"),
            Self::LookupGroup(name, error) => write!(f, "cannot look up group {name:?}: {error}"),
        }
    }
}

/// Who this process is while it may change its identity.
const ROOT: &str = "root";

fn gid(name: &str) -> Result<u32, IdentityError> {
    let group = Group::from_name(name)
        .map_err(|error| IdentityError::LookupGroup(name.to_owned(), error.into()))?
        .ok_or_else(|| IdentityError::UnknownGroup(name.to_owned()))?;
    Ok(group.gid.as_raw())
}

/// Returns whether this process may change its identity.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Identity {
    /// Looks a configured user up. `None` where none is configured, or where this process cannot
    /// change its identity anyway.
    pub(crate) fn of(user: Option<&str>) -> Result<Option<Self>, IdentityError> {
        match user {
            Some(name) if is_root() => Self::find(name).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// As [`Identity::of`], with another group than the user's own where one is configured.
    pub(crate) fn of_pool(pool: &PoolConfig) -> Result<Option<Self>, IdentityError> {
        let user = pool.user.as_deref();
        match pool.group.as_deref() {
            // Who has a group alone stays who this is, which may be root only when that is allowed.
            Some(group) if is_root() => {
                let identity = Self::find(user.unwrap_or(ROOT))?;
                Ok(Some(Self { gid: gid(group)?, ..identity }))
            }
            Some(_) | None => Self::of(user),
        }
    }

    fn find(name: &str) -> Result<Self, IdentityError> {
        let user = User::from_name(name)
            .map_err(|error| IdentityError::Lookup(name.to_owned(), error.into()))?
            .ok_or_else(|| IdentityError::Unknown(name.to_owned()))?;
        Ok(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir })
    }

    /// Makes this process run as the user, with its groups, for good.
    pub(crate) fn assume(&self) -> io::Result<()> {
        let name = std::ffi::CString::new(self.name.as_str())?;
        let gid = Gid::from_raw(self.gid);
        nix::unistd::initgroups(&name, gid)?;
        nix::unistd::setgid(gid)?;
        nix::unistd::setuid(Uid::from_raw(self.uid))?;
        Ok(())
    }

    /// Returns what of `path`, the file or a folder on the way, has a mode that keeps the user
    /// from reading. Rules beyond modes are not looked at; nor is what does not exist.
    pub(crate) fn kept_out_by(&self, path: &Path) -> Option<PathBuf> {
        const READ: u32 = 0o4;
        const ENTER: u32 = 0o1;
        let groups = self.groups();
        let is_open = |path: &Path, wanted: u32| {
            let Ok(found) = path.metadata() else { return true };
            let shift = match (found.uid() == self.uid, groups.contains(&found.gid())) {
                (true, _) => 6,
                (false, true) => 3,
                (false, false) => 0,
            };
            (found.mode() >> shift) & wanted == wanted
        };
        if self.uid == 0 {
            return None;
        }
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        let all = folders.into_iter().map(|folder| (folder, ENTER)).chain([(path, READ)]);
        let mut closed = all.filter(|(path, wanted)| !is_open(path, *wanted));
        closed.next().map(|(path, _)| path.to_owned())
    }

    /// Every group of the user; its own alone where the database does not say.
    fn groups(&self) -> Vec<u32> {
        let name = std::ffi::CString::new(self.name.as_str()).ok();
        let listed = name.and_then(|name| getgrouplist(&name, Gid::from_raw(self.gid)).ok());
        listed.map_or_else(|| vec![self.gid], |all| all.into_iter().map(Gid::as_raw).collect())
    }

    /// The variables that a login would set.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        let home = self.home.to_string_lossy().into_owned();
        [("HOME", home), ("USER", self.name.clone()), ("LOGNAME", self.name.clone())]
    }
}

/// Gives a path to a user; with `None` it stays with who made it. A link is not followed.
pub(crate) fn give(path: &Path, identity: Option<&Identity>) -> io::Result<()> {
    identity.map_or(Ok(()), |identity| lchown(path, Some(identity.uid), Some(identity.gid)))
}

/// Has `make` make a file that has this mode from the start. It must allow all that it can: the
/// rest is taken away by the umask, which is that of the whole process, so other threads make none.
pub(crate) fn with_mode<T>(mode: u32, make: impl FnOnce() -> T) -> T {
    let before = rustix::process::umask(Mode::from_raw_mode(!mode & 0o777));
    let made = make();
    rustix::process::umask(before);
    made
}

/// Sets the mode of an open directory or file.
pub(crate) fn set_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_known_user_is_found_and_an_unknown_one_is_named() {
        let root = Identity::find("root").unwrap();
        assert_eq!((root.uid, root.name.as_str()), (0, "root"));
        let error = Identity::find("no-such-user-here").unwrap_err();
        assert_eq!(error.to_string(), "there is no user \"no-such-user-here\" on this system");
    }

    #[test]
    fn a_group_takes_the_place_of_the_users_own() {
        assert_eq!(gid("root").unwrap(), 0);
        let error = gid("no-such-group-here").unwrap_err();
        assert_eq!(error.to_string(), "there is no group \"no-such-group-here\" on this system");
    }

    /// The link leads nowhere, so that following it fails.
    #[test]
    fn giving_a_link_away_does_not_follow_it() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let [uid, gid] = [rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()];
        let (name, home) = ("me".to_owned(), PathBuf::new());
        give(&link, Some(&Identity { name, uid, gid, home })).unwrap();
    }

    #[test]
    fn whom_a_mode_keeps_out_is_told_by_which() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("folder"), dir.path().join("folder/file"));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        let (name, home) = ("no-such-user-here".to_owned(), PathBuf::new());
        let stranger = Identity { name, uid: u32::MAX - 1, gid: u32::MAX - 1, home };
        let check = |modes: [u32; 3], expected: Option<&Path>| {
            for (path, mode) in [dir.path(), &folder, &file].into_iter().zip(modes) {
                set(path, mode).unwrap();
            }
            assert_eq!(stranger.kept_out_by(&file).as_deref(), expected, "{modes:?}");
        };
        check([0o711, 0o751, 0o644], None);
        check([0o711, 0o751, 0o640], Some(&file));
        check([0o711, 0o750, 0o640], Some(&folder));
        check([0o700, 0o750, 0o640], Some(dir.path()));
        let root = Identity::find("root").unwrap();
        assert_eq!(root.kept_out_by(&file), None);
    }

    #[test]
    fn without_a_configured_user_nothing_changes() {
        assert_eq!(Identity::of(None).unwrap(), None);
    }
}
