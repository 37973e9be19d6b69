//! `[spool]`: where bodies go that are too large for memory.

use std::path::PathBuf;

use crate::table::config_table;
use crate::value::ByteSize;

config_table! {
    /// Files for what slow clients have not sent or taken yet: bodies of requests beyond
    /// `limits.body-in-memory`, and of responses beyond `limits.response-in-memory`.
    ///
    /// The files have no names, so none is left behind, however a process ends.
    pub struct SpoolConfig(decoder) {
        /// A folder of the proxy's user that nobody else may read or write (mode 0700). The
        /// default one is made at start; any other has to exist. `/run` lies in memory on most
        /// systems: name a folder on a disk where large bodies are common.
        pub directory: PathBuf =
            computed("RUNTIME-DIR/spool", decoder.known.runtime_dir.join("spool")),
        /// All spooled bodies together. Beyond it a request with a body that needs the spool gets
        /// 503, and a response waits for its client.
        pub max_size: ByteSize = default("4GiB") in ByteSize(0)..=ByteSize::gib(65_536),
    }
}
