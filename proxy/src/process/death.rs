//! Notices that a worker has died, for who waits on its ring link.
//!
//! The kernel says so through a descriptor of the process, at once, before the supervisor does.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::link::watch_descriptor;
use crate::pool::Worker;

/// Has the ring link of a worker know when its process ends.
#[expect(clippy::disallowed_methods, reason = "ends with the process that it watches")]
pub(super) fn watch(worker: &Arc<Worker>) {
    if worker.ring.is_none() {
        return;
    }
    let worker = Arc::clone(worker);
    tokio::spawn(async move {
        if let Err(error) = ended(worker.process()).await {
            tracing::error!(%error, pool = worker.id.pool, slot = worker.id.slot, "death_not_watched");
        }
        if let Some(ring) = &worker.ring {
            ring.lose();
        }
    });
}

async fn ended(process: Option<OwnedFd>) -> io::Result<()> {
    if let Some(process) = process {
        drop(watch_descriptor(process)?.readable().await?);
    }
    Ok(())
}
