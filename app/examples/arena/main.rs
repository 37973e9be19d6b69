//! Arena: a small coding contest, made of pages that any browser shows.
//!
//! It is written as most sites are: a blocking handler that asks a database and answers with
//! HTML. Everything is in one `SQLite` file, `ARENA_DATABASE` (`arena.sqlite` unless set), which
//! is made and filled at first start. Its style sheet, logo and script are under `/static/`,
//! which a proxy serves from `static` beside this file; without one it serves them itself.

mod assets;
mod form;
mod page;
mod password;
mod problems;
mod site;
mod store;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ostler_app::Response;

use crate::store::{Store, StoreError};

thread_local! {
    /// The connection of this thread, opened by its first request.
    static STORE: RefCell<Option<Store>> = const { RefCell::new(None) };
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::var_os("ARENA_DATABASE").unwrap_or_else(|| "arena.sqlite".into());
    let path = PathBuf::from(path);
    Store::prepare(&path)?;
    ostler_app::threads(move |request| {
        with_store(&path, |store| site::answer(store, request, unix_now()))
    })?;
    Ok(())
}

fn with_store(path: &Path, run: impl FnOnce(&mut Store) -> Response) -> Response {
    STORE.with_borrow_mut(|store| {
        if store.is_none() {
            match Store::open(path) {
                Ok(opened) => *store = Some(opened),
                Err(error) => return site::failed(&error),
            }
        }
        match store {
            Some(store) => run(store),
            None => site::failed(&StoreError::Closed),
        }
    })
}

/// Seconds since 1970.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().try_into().unwrap_or(i64::MAX)
}
