//! What a process may take of the system, set by the stub before it gives up the right to.

use ostler_conf::PoolConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use serde::{Deserialize, Serialize};

/// Limits of a process; `None`: as the supervisor has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    memory_bytes: Option<u64>,
    files: Option<u64>,
    core_bytes: Option<u64>,
    nice: Option<i32>,
}

/// Why a limit cannot be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    #[error("cannot set `limits.{key}` to {value} ({highest} here): {source}")]
    Limit { key: &'static str, value: u64, highest: String, source: rustix::io::Errno },
    #[error("cannot set `nice` to {value}: {source}")]
    Nice { value: i32, source: rustix::io::Errno },
}

impl Limits {
    /// Those of a pool's workers.
    pub(crate) fn of(pool: &PoolConfig) -> Self {
        Self {
            memory_bytes: pool.limits.memory.map(|size| size.0),
            files: pool.limits.files.map(u64::from),
            core_bytes: pool.limits.core.map(|size| size.0),
            nice: pool.nice,
        }
    }

    /// Sets them for this process and what it becomes or starts, for good.
    pub(crate) fn apply(&self) -> Result<(), LimitError> {
        let limits = [
            ("memory", Resource::Data, self.memory_bytes),
            ("files", Resource::Nofile, self.files),
            ("core", Resource::Core, self.core_bytes),
        ];
        for (key, resource, value) in limits {
            let Some(value) = value else { continue };
            let limit = Rlimit { current: Some(value), maximum: Some(value) };
            setrlimit(resource, limit).map_err(|source| {
                let highest = highest(getrlimit(resource));
                LimitError::Limit { key, value, highest, source }
            })?;
        }
        self.nice.map_or(Ok(()), |value| {
            setpriority_process(None, value).map_err(|source| LimitError::Nice { value, source })
        })
    }
}

fn highest(limit: Rlimit) -> String {
    limit.maximum.map_or_else(|| "no limit".to_owned(), |most| format!("at most {most}"))
}
