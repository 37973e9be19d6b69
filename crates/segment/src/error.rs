//! Why shared memory could not be made or is not taken.

use std::io;

/// Why a segment or a counter page was not created or not mapped.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A system call failed.
    #[error("{call} failed")]
    System {
        /// Name of the call.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The descriptor could be resized under its readers, which would kill them with SIGBUS.
    #[error("the descriptor is not sealed against resizing")]
    NotSealed,
    /// The size does not fit what the head says, or is beyond every limit.
    #[error("a size of {size} bytes is not that of this layout")]
    Size {
        /// Size of the descriptor in bytes.
        size: u64,
    },
    /// A descriptor is not one that this process was started with.
    #[error("descriptor {number} was not inherited")]
    NotInherited {
        /// Its number.
        number: i32,
    },
    /// It is something else.
    #[error("the first word is not the magic number")]
    Magic,
    /// Another version of Ostler laid it out.
    #[error("layout version {found}, where this program knows {known}")]
    Version {
        /// Version in the head.
        found: u64,
        /// Version of this program.
        known: u64,
    },
    /// No rows or counters, or more than a segment may have.
    #[error("a count of {count} is not within 1 to {max}")]
    Count {
        /// Count asked for or found.
        count: u64,
        /// Largest count allowed.
        max: u64,
    },
    /// The name of the pool is empty, too long or not UTF-8.
    #[error("the name of the pool is empty, longer than {max} bytes or not UTF-8")]
    PoolName {
        /// Most bytes a name may have.
        max: usize,
    },
}

impl SegmentError {
    /// Wraps the failure of a system call.
    pub(crate) fn system(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::System { call, source: errno.into() }
    }
}
