//! `[pool.NAME.limits]`: what a process of a worker may take of the system.

use crate::decode::Decoder;
use crate::table::config_table;
use crate::tree::TableNode;
use crate::value::ByteSize;

config_table! {
    /// What the kernel lets each process of a worker take. Each is the limit of the supervisor
    /// unless it is set; more than that is for root.
    pub struct PoolLimitsConfig(decoder) checked by check_limits {
        /// Private memory that can be written to: heap, and stacks of threads in their full size
        /// (`RLIMIT_DATA`). A worker that asks for more does not get it, and most programs end
        /// then. Not `RLIMIT_AS`, which counts the room that memory allocators set aside and never
        /// use.
        pub memory: Option<ByteSize> = optional,
        /// Open files, sockets included (`RLIMIT_NOFILE`).
        pub files: Option<u32> = optional,
        /// Size of the image that a crash leaves (`RLIMIT_CORE`). "0B": none.
        pub core: Option<ByteSize> = optional,
    }
}

/// Less than any program needs to start.
const MIN_MEMORY: ByteSize = ByteSize::mib(1);

/// Less than a worker needs to serve: its output, its sockets, and some of its own.
const MIN_FILES: u32 = 16;

fn check_limits(
    limits: PoolLimitsConfig,
    table: &TableNode,
    decoder: &mut Decoder<'_>,
) -> PoolLimitsConfig {
    if let Some(memory) = limits.memory.filter(|memory| *memory < MIN_MEMORY) {
        let message = format!("`memory`: {memory} is less than {MIN_MEMORY}: nothing would start");
        decoder.problem(table.place("memory"), message);
    }
    if let Some(files) = limits.files.filter(|files| *files < MIN_FILES) {
        let message = format!("`files`: {files} is less than {MIN_FILES}: nothing would serve");
        decoder.problem(table.place("files"), message);
    }
    limits
}
