//! What `/server-info` shows: how the server is built, configured, routed and limited.
//!
//! Serialized, it is the document of `?json`. What is unknown is `None`, and `null` there.

use serde::Serialize;

use crate::moment::UnixTime;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Info {
    /// Facts about the server, in order.
    pub server: Vec<Fact>,
    /// Limits of the system, and what the configuration can need of them.
    pub limits: Vec<InfoLimit>,
    /// What is built in, whether it is in use, and what it costs.
    pub features: Vec<Feature>,
    /// Routes by listener, in the order in which they are tried.
    pub routes: Vec<ListenerRoutes>,
    /// The effective configuration, with the source of each value; secrets are masked.
    pub config: String,
    /// When this was written down.
    pub taken: UnixTime,
}

/// A fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about.
    pub name: String,
    /// What it is.
    pub value: String,
}

/// A limit of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InfoLimit {
    /// Its name.
    pub name: String,
    /// The most that the configuration can need.
    pub needed: u64,
    /// What there is.
    pub found: Option<u64>,
    /// Both are bytes.
    pub is_bytes: bool,
    /// There is less than can be needed.
    pub is_low: bool,
    /// How `needed` comes about.
    pub sum: String,
    /// What to do about too little.
    pub remedy: String,
}

/// Something that is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// It is in use.
    pub is_active: bool,
    /// What of it is in use.
    pub detail: String,
    /// Bytes of memory, or of disk where `basis` says so, that it takes at this moment.
    pub bytes: Option<u64>,
    /// How `bytes` is known.
    pub basis: String,
}

/// The routes of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListenerRoutes {
    /// Its name.
    pub listener: String,
    /// Its routes.
    pub routes: Vec<InfoRoute>,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InfoRoute {
    /// The host, a wildcard, or `*` for any other.
    pub host: String,
    /// A prefix, or with `=` in front the whole path.
    pub path: String,
    /// Its methods; none: all that are left.
    pub methods: Vec<String>,
    /// What answers.
    pub target: String,
    /// What it sets differently from the default.
    pub differs: Vec<String>,
}

/// Parts of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoPart {
    /// `?server`: facts and limits.
    Server,
    /// `?list`: features.
    List,
    /// `?routes`.
    Routes,
    /// `?config`.
    Config,
}

impl InfoPart {
    /// In the order of the page.
    pub const ALL: [Self; 4] = [Self::Server, Self::List, Self::Routes, Self::Config];

    /// Returns the word of the query that asks for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::List => "list",
            Self::Routes => "routes",
            Self::Config => "config",
        }
    }
}

/// Returns all of it as one JSON document.
///
/// # Panics
///
/// Never: there is nothing in it that JSON has no word for.
pub fn info_json(info: &Info) -> String {
    serde_json::to_string(info).expect("texts and whole numbers only")
}
