//! The tables of the configuration, one file a group.

mod client;
mod config;
mod health;
mod listener;
mod log;
mod origin;
mod pool;
mod server;
mod site;
mod spool;
mod status;

pub use client::{KeepaliveConfig, LimitsConfig, ProxiesConfig, TimeoutsConfig};
pub use config::Config;
pub use health::HealthConfig;
pub use listener::ListenerConfig;
pub use log::{AccessLogConfig, ErrorLogConfig, LogConfig};
pub use origin::{OriginConfig, OriginKind};
pub use pool::{PoolConfig, PoolLimitsConfig};
pub use server::ServerConfig;
pub use site::{RouteAction, RouteConfig, SiteConfig};
pub use spool::SpoolConfig;
pub use status::StatusConfig;

pub(crate) use config::SECTIONS;
