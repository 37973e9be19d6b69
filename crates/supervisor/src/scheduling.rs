//! How the kernel shares processors out to a process: `sched(7)`.

use std::io;

use ostler_conf::SchedulingPolicy;
use serde::{Deserialize, Serialize};

/// A scheduling policy, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy(i32);

impl From<SchedulingPolicy> for Policy {
    fn from(policy: SchedulingPolicy) -> Self {
        match policy {
            SchedulingPolicy::Batch => Self(libc::SCHED_BATCH),
            SchedulingPolicy::Other => Self(libc::SCHED_OTHER),
        }
    }
}

impl Policy {
    /// Sets it for the calling thread, and so for what that becomes and starts.
    #[expect(unsafe_code, reason = "no library that we know has a safe form of this call")]
    pub(crate) fn apply(self) -> io::Result<()> {
        /// The calling thread.
        const THIS: libc::pid_t = 0;
        // These policies have no other priority than 0.
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the kernel reads `parameters`, which lives until the call returns, and writes
        // nothing to this process.
        let outcome = unsafe { libc::sched_setscheduler(THIS, self.0, &raw const parameters) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
