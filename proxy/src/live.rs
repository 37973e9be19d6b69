//! The configuration in force, built for use: routes by listener, pools and origins by name.
//!
//! Immutable. A reload builds another and puts it in its place; start and reload are the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ostler_conf::{Config, OriginKind, RouteAction, RouteConfig, Share};
use ostler_policy::admission::RouteId;
use ostler_policy::http::head::{HeadLimits, MAX_FIELDS};
use ostler_policy::route::{Route, Routes, route_name, route_names, site_label};

use crate::directory::Directory;
use crate::ledger::{Ledger, RouteBooks};
use crate::link::Link;
use crate::origin::{ServerPages, ServersOrigin};
use crate::pool::Pool;
use crate::spool::{Spool, SpoolRefused};

/// One configuration, ready to serve.
#[derive(Debug)]
pub(crate) struct LiveConfig {
    pub(crate) config: Config,
    pub(crate) version: u64,
    /// When it was read, since the epoch.
    pub(crate) loaded: Duration,
    /// The keys that differ from those of the one before, where this process knows that.
    pub(crate) changed: Vec<String>,
    /// Its text for operators: each value with its source, secrets masked.
    pub(crate) shown: String,
    pub(crate) head_limits: HeadLimits,
    /// By listener.
    routes: BTreeMap<String, Routes>,
    /// By the number of the route, which leads to a pool.
    route_ids: Vec<RouteId>,
    /// What each route is charged to, by its number.
    pub(crate) charged: Vec<ChargedRoute>,
    pub(crate) pools: BTreeMap<String, PoolTarget>,
    pub(crate) origins: BTreeMap<String, Origin>,
    pub(crate) spool: Arc<Spool>,
}

/// What the supervisor says of a configuration besides the configuration.
#[derive(Clone, Debug)]
pub(crate) struct ConfigRead {
    pub(crate) version: u64,
    /// When it was read, since the epoch.
    pub(crate) loaded: Duration,
    /// Its text for operators.
    pub(crate) shown: String,
}

/// A pool with what one configuration says of it.
#[derive(Debug)]
pub(crate) struct PoolTarget {
    pub(crate) pool: Arc<Pool>,
    pub(crate) link: Link,
    pub(crate) queue_timeout: Duration,
    pub(crate) response_idle: Duration,
    /// How long a thread may be late; `None`: its rows are not threads.
    pub(crate) stuck_grace: Option<Duration>,
    /// The routes that may hold only a share of it.
    pub(crate) shares: Vec<(RouteId, Share)>,
}

/// A route as it is charged.
#[derive(Debug)]
pub(crate) struct ChargedRoute {
    pub(crate) books: Arc<RouteBooks>,
    pub(crate) pool: Option<String>,
    pub(crate) origin: Option<String>,
}

/// Where an origin's responses come from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Servers(Arc<ServersOrigin>),
    Directory(Arc<Directory>),
}

/// What the supervisor has told of, for configurations to name.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) pools: BTreeMap<String, Arc<Pool>>,
    pub(crate) servers: ServerPages,
    pub(crate) ledger: Arc<Ledger>,
}

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The supervisor has not told of the pool.
    #[error("pool `{0}` is not known")]
    UnknownPool(String),
    /// The supervisor has not told of the routes.
    #[error("route `{0}` has no counters")]
    NoCounters(String),
    /// The directory of an origin cannot be opened.
    #[error("origin `{name}`: directory {path} cannot be opened")]
    Directory {
        name: String,
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// An origin has nobody to ask, or the supervisor has not told of its servers.
    #[error("origin `{0}` has no servers that are known")]
    NoServers(String),
    /// The directory for bodies cannot be used.
    #[error("[spool] directory {path}")]
    Spool {
        path: String,
        #[source]
        source: SpoolRefused,
    },
}

impl LiveConfig {
    /// Builds what serves `config`, with what is known; `before` is what it replaces.
    ///
    /// # Errors
    ///
    /// What [`BuildError`] says; nothing was changed then.
    pub(crate) fn build(
        config: Config,
        read: ConfigRead,
        known: &Known,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let routes = config
            .listeners
            .iter()
            .map(|listener| (listener.name.clone(), Routes::for_listener(&config, &listener.name)))
            .collect();
        let head_limits = HeadLimits {
            head_bytes: whole(config.limits.head_size.0),
            fields: config.limits.head_fields.min(MAX_FIELDS),
            target_bytes: whole(config.limits.target_size.0),
        };
        let mut pools = pools(&config, &known.pools)?;
        let route_ids = route_ids(&config, &mut pools);
        let charged = charged(&config, &known.ledger)?;
        let origins = origins(&config, &known.servers, before)?;
        let spool = Spool::open(&config.spool, before.map(|live| &*live.spool));
        let spool = spool.map_err(|source| BuildError::Spool {
            path: config.spool.directory.display().to_string(),
            source,
        })?;
        let ConfigRead { version, loaded, shown } = read;
        let changed = before.map(|before| config.changed_since(&before.config));
        Ok(Self {
            config,
            version,
            loaded,
            changed: changed.unwrap_or_default(),
            shown,
            head_limits,
            routes,
            route_ids,
            charged,
            pools,
            origins,
            spool,
        })
    }

    /// The routes of a listener.
    pub(crate) fn routes(&self, listener: &str) -> Option<&Routes> {
        self.routes.get(listener)
    }

    /// The books of a route.
    pub(crate) fn books(&self, route: &Route) -> Option<&Arc<RouteBooks>> {
        self.charged.get(route.number).map(|charged| &charged.books)
    }

    /// The number under which a route's pool knows it.
    pub(crate) fn route_id(&self, route: &Route) -> RouteId {
        self.route_ids.get(route.number).copied().unwrap_or_default()
    }
}

fn pools(
    config: &Config,
    known: &BTreeMap<String, Arc<Pool>>,
) -> Result<BTreeMap<String, PoolTarget>, BuildError> {
    let build = |(name, pool): (&String, &ostler_conf::PoolConfig)| {
        let known = known.get(name).ok_or_else(|| BuildError::UnknownPool(name.clone()))?;
        let target = PoolTarget {
            pool: Arc::clone(known),
            link: Link { keepalive: pool.worker_keepalive },
            queue_timeout: pool.queue_timeout,
            response_idle: pool.response_idle,
            stuck_grace: pool.is_blocking().then_some(pool.stuck_grace),
            shares: Vec::new(),
        };
        Ok((name.clone(), target))
    };
    config.pools.iter().map(build).collect()
}

/// Makes the routes known to their pools, and adds the shares that they have of them.
fn route_ids(config: &Config, pools: &mut BTreeMap<String, PoolTarget>) -> Vec<RouteId> {
    let routes = config.sites.iter().flat_map(|site| {
        let site_name = site_label(site);
        site.routes.iter().map(move |route| (site_name.clone(), route))
    });
    let mut numbered = |(site, route): (String, &RouteConfig)| {
        let RouteAction::Pool(pool) = &route.action else { return RouteId::default() };
        let Some(target) = pools.get_mut(pool) else { return RouteId::default() };
        let id = target.pool.route(&route_name(&site, route));
        target.shares.extend(route.max_share.map(|share| (id, share)));
        id
    };
    routes.map(&mut numbered).collect()
}

/// Finds the books of each route.
fn charged(config: &Config, ledger: &Ledger) -> Result<Vec<ChargedRoute>, BuildError> {
    let routes = config.sites.iter().flat_map(|site| &site.routes);
    let charged = |(name, route): (String, &RouteConfig)| {
        let books = ledger.route(&name).ok_or(BuildError::NoCounters(name))?;
        let (pool, origin) = match &route.action {
            RouteAction::Pool(pool) => (Some(pool.clone()), None),
            RouteAction::Origin { name, .. } => (None, Some(name.clone())),
            RouteAction::Redirect { .. } => (None, None),
        };
        Ok(ChargedRoute { books, pool, origin })
    };
    route_names(config).zip(routes).map(charged).collect()
}

/// An origin with servers that has not changed is kept, with what is known of its servers.
fn origins(
    config: &Config,
    pages: &ServerPages,
    before: Option<&LiveConfig>,
) -> Result<BTreeMap<String, Origin>, BuildError> {
    let build = |(name, origin): (&String, &ostler_conf::OriginConfig)| {
        let is_same = before.is_some_and(|live| live.config.origins.get(name) == Some(origin));
        let kept = before.and_then(|live| live.origins.get(name));
        if let Some(Origin::Servers(servers)) = kept.filter(|_| is_same) {
            return Ok((name.clone(), Origin::Servers(Arc::clone(servers))));
        }
        let built = match &origin.kind {
            OriginKind::Directory { directory } => {
                let opened =
                    Directory::open(directory).map_err(|source| BuildError::Directory {
                        name: name.clone(),
                        path: directory.display().to_string(),
                        source,
                    })?;
                Origin::Directory(Arc::new(opened))
            }
            kind @ OriginKind::Servers { .. } => {
                let servers = ServersOrigin::build(name, kind, pages);
                Origin::Servers(Arc::new(
                    servers.ok_or_else(|| BuildError::NoServers(name.clone()))?,
                ))
            }
        };
        Ok((name.clone(), built))
    };
    config.origins.iter().map(build).collect()
}

fn whole(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
