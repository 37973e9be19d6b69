//! The kinds of workers that a promise is tested on. Each has the same pool and the same paths.

use std::fmt::{self, Display, Formatter};

use crate::{Plan, python};

/// Who answers the requests of the pool `probe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// The probe, through shared memory.
    Auto,
    /// The probe, over HTTP.
    Http,
    /// Python's, with an application that does what the probe does.
    Python,
}

impl Workers {
    /// Starts from one process of them with two threads that answers every path.
    pub fn plan(self) -> Plan {
        match self {
            Self::Auto => Plan::probe().with("pool.probe.link = 'auto'"),
            Self::Http => Plan::probe().with("pool.probe.link = 'http'"),
            Self::Python => python::probe(),
        }
    }
}

/// As it is added to the name of a promise.
impl Display for Workers {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "link auto",
            Self::Http => "link http",
            Self::Python => "Python",
        })
    }
}
