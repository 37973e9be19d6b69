//! The routes there ever were, by number, and the pages that their costs are counted in.
//!
//! A route is its name: one that is left out of a configuration and comes back has its number
//! again. Numbers are what rows of segments hold, so they stand as long as the supervisor lives.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use ostler_segment::counter::Route;
use ostler_segment::{CounterPage, SegmentError};

use crate::proxy::memory_file;

/// The name of number 0: what is counted together, because there is no room for more names.
const OTHERS: &str = "(others)";

/// Names at the most, that of the others included. Reloads may bring new ones for ever.
const MAX_NAMES: usize = Route::PER_PAGE * Route::MAX_PAGES;

/// The routes.
#[derive(Debug)]
pub(crate) struct Routes {
    /// By number.
    names: Vec<String>,
    numbers: HashMap<String, usize>,
    /// Each for [`Route::PER_PAGE`] of them.
    pages: Vec<OwnedFd>,
}

impl Routes {
    /// Begins with a page for the others.
    pub(crate) fn new() -> Result<Self, SegmentError> {
        let page = CounterPage::create(Route::PAGE)?;
        Ok(Self { names: vec![OTHERS.to_owned()], numbers: HashMap::new(), pages: vec![page] })
    }

    /// Numbers the routes that are not known yet, as long as there is room.
    pub(crate) fn add(&mut self, names: impl Iterator<Item = String>) -> Result<(), SegmentError> {
        for name in names {
            if MAX_NAMES <= self.names.len() || self.numbers.contains_key(&name) {
                continue;
            }
            let number = self.names.len();
            if number == self.pages.len() * Route::PER_PAGE {
                self.pages.push(CounterPage::create(Route::PAGE)?);
            }
            self.numbers.insert(name.clone(), number);
            self.names.push(name);
        }
        Ok(())
    }

    /// Returns what the proxy process is told: a file with the names, and the pages.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let names = memory_file(&serde_json::to_string(&self.names)?)?;
        let pages = self.pages.iter().map(OwnedFd::try_clone);
        std::iter::once(Ok(names)).chain(pages).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(routes: &mut Routes, names: impl Iterator<Item = usize>) {
        routes.add(names.map(|name| format!("/{name}"))).unwrap();
    }

    #[test]
    fn a_route_keeps_its_number() {
        let mut routes = Routes::new().unwrap();
        add(&mut routes, 1..4);
        add(&mut routes, 3..6);
        assert_eq!(routes.names, ["(others)", "/1", "/2", "/3", "/4", "/5"]);
    }

    #[test]
    fn ten_thousand_routes_are_a_few_descriptors() {
        let mut routes = Routes::new().unwrap();
        add(&mut routes, 0..10_000);
        assert_eq!(routes.descriptors().unwrap().len(), 11);
    }

    #[test]
    fn names_beyond_the_last_place_get_none() {
        let mut routes = Routes::new().unwrap();
        add(&mut routes, 0..2 * MAX_NAMES);
        assert_eq!((routes.names.len(), routes.pages.len()), (MAX_NAMES, Route::MAX_PAGES));
    }
}
