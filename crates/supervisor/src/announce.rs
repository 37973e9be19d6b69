//! What is said only once the proxy process has carried out everything it was told before.
//!
//! `ready`, and the answers to a reload and to recycling, are promises about what clients see from
//! then on. So each is held back until the proxy process has answered a `Sync` that was sent behind
//! all else.

use std::collections::VecDeque;

use crate::handle::{RecycleError, RecycleReply, ReloadError, ReloadReply};
use crate::message::ToProxy;
use crate::proxy::Proxy;

/// Something to be said.
#[derive(Debug)]
pub(crate) enum Announcement {
    /// Everything serves.
    Ready,
    /// How a reload went.
    Reloaded(Option<ReloadReply>, Result<u64, ReloadError>),
    /// How recycling went.
    Recycled(RecycleReply, Result<(), RecycleError>),
}

/// What waits to be said, in order.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    waiting: VecDeque<Announcement>,
}

impl Announcements {
    /// Adds one; returns it at once when there is no proxy process that could answer.
    pub(crate) fn add(
        &mut self,
        announcement: Announcement,
        proxy: &mut Proxy,
    ) -> Option<Announcement> {
        if !proxy.is_serving() {
            return Some(announcement);
        }
        self.waiting.push_back(announcement);
        proxy.tell(ToProxy::Sync, Vec::new());
        None
    }

    /// Asks anew for all that wait: another process serves now.
    pub(crate) fn ask_again(&self, proxy: &mut Proxy) {
        for _ in &self.waiting {
            proxy.tell(ToProxy::Sync, Vec::new());
        }
    }

    /// The next one: the proxy process has answered.
    pub(crate) fn next(&mut self) -> Option<Announcement> {
        self.waiting.pop_front()
    }

    /// All that waited: the proxy process has ended and will not answer. Its successor makes the
    /// server ready anew.
    pub(crate) fn give_up(&mut self) -> Vec<Announcement> {
        let is_answer = |it: &Announcement| !matches!(it, Announcement::Ready);
        self.waiting.drain(..).filter(is_answer).collect()
    }
}
