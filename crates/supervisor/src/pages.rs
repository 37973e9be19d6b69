//! The counter pages, which outlive every proxy process, so that no counter ever goes back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ostler_segment::counter::{OriginServer, Pool, Server};
use ostler_segment::{CounterPage, SegmentError};

use crate::routes::Routes;

/// The page of the server, those of the routes, and one of each pool and each origin's server there ever was.
#[derive(Debug)]
pub(crate) struct Pages {
    server: OwnedFd,
    /// Those that routes share.
    pub(crate) routes: Routes,
    pools: BTreeMap<String, PoolPage>,
    /// By origin and URL.
    origin_servers: BTreeMap<(String, String), OwnedFd>,
}

#[derive(Debug)]
struct PoolPage {
    memory: OwnedFd,
    counters: CounterPage,
}

impl Pages {
    /// Makes the server's page.
    pub(crate) fn new() -> Result<Self, SegmentError> {
        Ok(Self {
            server: CounterPage::create(Server::PAGE)?,
            routes: Routes::new()?,
            pools: BTreeMap::new(),
            origin_servers: BTreeMap::new(),
        })
    }

    /// Returns the server's page, to be sent.
    pub(crate) fn server(&self) -> io::Result<OwnedFd> {
        self.server.try_clone()
    }

    /// Makes the page of a pool where it is missing.
    pub(crate) fn add_pool(&mut self, name: &str) -> Result<(), SegmentError> {
        if !self.pools.contains_key(name) {
            let memory = CounterPage::create(Pool::PAGE)?;
            let counters = CounterPage::map(memory.as_fd())?;
            self.pools.insert(name.to_owned(), PoolPage { memory, counters });
        }
        Ok(())
    }

    /// Returns the page of a pool, to be sent.
    pub(crate) fn pool(&self, name: &str) -> io::Result<OwnedFd> {
        let page = self.pools.get(name).ok_or(io::ErrorKind::NotFound)?;
        page.memory.try_clone()
    }

    /// Makes the page of an origin's server where it is missing.
    pub(crate) fn add_origin_server(
        &mut self,
        origin: &str,
        url: &str,
    ) -> Result<(), SegmentError> {
        let key = (origin.to_owned(), url.to_owned());
        if let Entry::Vacant(missing) = self.origin_servers.entry(key) {
            missing.insert(CounterPage::create(OriginServer::COUNT)?);
        }
        Ok(())
    }

    /// Returns the page of an origin's server, to be sent.
    pub(crate) fn origin_server(&self, origin: &str, url: &str) -> io::Result<OwnedFd> {
        let page = self.origin_servers.get(&(origin.to_owned(), url.to_owned()));
        page.ok_or(io::ErrorKind::NotFound)?.try_clone()
    }

    /// Counts something about a pool.
    pub(crate) fn count(&self, pool: &str, counter: Pool) {
        if let Some(page) = self.pools.get(pool) {
            page.counters.add(counter, 1);
        }
    }
}
