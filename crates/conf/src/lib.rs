//! The configuration of Ostler: its model, its errors with positions, its reference.
//!
//! A configuration is one TOML file and what it includes. [`Config::load`] reads and checks all of
//! it and reports every error at once, as `FILE:LINE:COL: message`. A [`Config`] that exists is
//! valid: values are in their ranges, names refer to something, defaults are resolved, paths are
//! absolute.
//!
//! Each table is declared once, in `model/`: its struct, its decoder, the effective
//! configuration and the reference come from the same declaration. A key that is not declared
//! does not exist.

mod changed;
mod check;
mod decode;
mod effective;
mod error;
mod load;
mod mask;
mod model;
mod nearest;
mod reference;
mod source;
mod surroundings;
mod table;
mod tree;
mod value;
mod variable;

pub use error::{ConfigError, ConfigErrors};
pub use load::Loaded;
pub use model::{
    AccessLogConfig, Config, ErrorLogConfig, HealthConfig, KeepaliveConfig, LimitsConfig,
    ListenerConfig, LogConfig, OriginConfig, OriginKind, PoolConfig, PoolLimitsConfig,
    ProxiesConfig, RouteAction, RouteConfig, ServerConfig, SiteConfig, SpoolConfig, StatusConfig,
    TimeoutsConfig,
};
pub use reference::reference;
pub use value::{
    AccessFormat, Allow, ByteSize, CostHook, HostPattern, Level, Link, ListenAddress, LogPath,
    MountPath, OriginHost, Ready, ResponseBuffering, RoutePath, ServerUrl, Share, Umask,
    WsgiApplication,
};
