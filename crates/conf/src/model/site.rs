//! `[[site]]` and `[[site.route]]`: which request is answered by what.

use std::collections::HashMap;
use std::time::Duration;

use ipnet::IpNet;

use super::OriginKind;
use crate::decode::Decoder;
use crate::table::{Key, Section, Table, config_table};
use crate::tree::{Data, Node, TableNode};
use crate::value::{ByteSize, DAY, HostPattern, ResponseBuffering, RoutePath, Share};

config_table! {
    /// Hosts and their routes. Replaces `VirtualHost` of httpd.
    ///
    /// The site of a request is the one with its exact host, else the one with the longest
    /// wildcard, else the one without hosts; the order in the file does not matter.
    pub struct SiteConfig(decoder) checked by check_site {
        /// Names such as `"www.example.com"` and `"*.example.com"`. None: any host.
        pub hosts: Vec<HostPattern> = default([]),
        /// Names of the listeners that it is served on. None: all.
        pub listeners: Vec<String> = default([]),
        /// What answers which path.
        pub routes: Vec<RouteConfig> = tables("route"),
    }
}

/// Which requests of a site, and what answers them.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Which paths.
    pub path: RoutePath,
    /// Which methods; empty: all that no earlier route with this path names.
    pub methods: Vec<String>,
    /// What answers.
    pub action: RouteAction,
    /// Largest body of a request.
    pub body_size: ByteSize,
    /// From the hand-over to a worker to the head of its response; `None`: no limit, or no pool.
    pub request_timeout: Option<Duration>,
    /// The most of the pool's rows that its requests may hold; `None`: all, or no pool.
    pub max_share: Option<Share>,
    /// Networks whose clients are answered; empty: all.
    pub allow: Vec<IpNet>,
    /// Whether the whole body of a request is received before a thread is taken.
    pub request_buffering: bool,
    /// Where a response goes that its client has not taken yet.
    pub response_buffering: ResponseBuffering,
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// A worker of this pool, which exists.
    Pool(String),
    /// This origin, which exists.
    Origin {
        /// Its name.
        name: String,
        /// Whether the route's prefix is cut off the path.
        strip_prefix: bool,
    },
    /// Another place: the rest of path and query is appended.
    Redirect {
        /// A URL or a path.
        location: String,
        /// 301, 302, 307 or 308.
        status: u16,
    },
}

config_table! {
    /// What answers which path of a site: one of `pool`, `origin` and `redirect`.
    pub(crate) struct RouteTable(decoder) checked by check_route {
        /// A prefix, at segment borders: `"/api"` is for `/api` and `/api/users`, not for
        /// `/apiary`; `"/static/"` is for what begins with it. The longest prefix wins.
        /// `"=/robots.txt"` is for this path alone, and wins over prefixes.
        /// It is in logs, metrics and the status page as it is: no place for a secret.
        pub path: RoutePath = required("/"),
        /// Which methods; `HEAD` goes with `GET`. None: all that no earlier route with this path
        /// names. A path that has routes, but none for the method, is answered with 405.
        pub methods: Vec<String> = default([]),
        /// The pool that answers.
        pub pool: Option<String> = optional,
        /// The origin that answers.
        pub origin: Option<String> = optional,
        /// Whether the prefix is cut off the path before the origin is asked.
        pub strip_prefix: bool = computed(
            "true for a directory, false for servers",
            is_directory(origin.as_deref(), decoder)
        ),
        /// The URL or the path that the client is sent to; the rest of path and query is appended.
        pub redirect: Option<String> = optional,
        /// The status of a redirect: 301, 302, 307 or 308.
        pub status: u16 = default(302),
        /// The body of a request; 413 beyond.
        pub body_size: ByteSize =
            computed("limits.body-size", decoder.known.body_size) in ByteSize(0)..=ByteSize::gib(1024),
        /// From the hand-over to a worker to the head of its response; 504 after. "0s": no limit.
        pub request_timeout: Option<Duration> = computed(
            "the pool's request-timeout",
            pool_timeout(pool.as_deref(), decoder)
        ) in None..=Some(DAY),
        /// The share of the pool's capacity at this moment that requests of this route may hold,
        /// rounded down, at least one thread. Those beyond wait, and others pass them by; they may
        /// fill the same share of the queue. None: all of it.
        pub max_share: Option<Share> = optional,
        /// Networks whose clients are answered; others get 403. None: all.
        pub allow: Vec<IpNet> = default([]),
        /// Whether the whole body of a request is received before a thread is taken. Without, the
        /// body is passed on as it comes, and holds a thread meanwhile: for applications that
        /// answer while they read.
        pub request_buffering: bool = default(true),
        /// Where a response goes that its client has not taken yet: `"spool"` to memory, then to a
        /// file, so that a slow client holds no thread; `"memory"` to memory alone; `"off"`
        /// nowhere. Past it the worker waits for the client. Nothing waits that a client takes.
        pub response_buffering: ResponseBuffering = default("spool"),
    }
}

fn is_directory(origin: Option<&str>, decoder: &Decoder<'_>) -> bool {
    let origin = origin.and_then(|name| decoder.known.origins.get(name)?.as_ref());
    origin.is_some_and(|origin| matches!(origin.kind, OriginKind::Directory { .. }))
}

fn pool_timeout(pool: Option<&str>, decoder: &Decoder<'_>) -> Option<Duration> {
    decoder.known.pools.get(pool?)?.as_ref()?.request_timeout
}

impl Table for RouteConfig {
    const DOC: &[&str] = RouteTable::DOC;

    fn keys() -> Vec<Key> {
        RouteTable::keys()
    }

    fn decode(table: &TableNode, decoder: &mut Decoder<'_>) -> Option<Self> {
        let RouteTable {
            path,
            methods,
            pool,
            origin,
            strip_prefix,
            redirect,
            status,
            body_size,
            request_timeout,
            max_share,
            allow,
            request_buffering,
            response_buffering,
        } = RouteTable::decode(table, decoder)?;
        let action = match (pool, origin, redirect) {
            (Some(pool), _, _) => RouteAction::Pool(pool),
            (None, Some(name), _) => RouteAction::Origin { name, strip_prefix },
            (None, None, Some(location)) => RouteAction::Redirect { location, status },
            (None, None, None) => return None,
        };
        Some(Self {
            path,
            methods,
            action,
            body_size,
            request_timeout,
            max_share,
            allow,
            request_buffering,
            response_buffering,
        })
    }

    fn encode(&self) -> Section {
        let mut table = RouteTable {
            path: self.path.clone(),
            methods: self.methods.clone(),
            pool: None,
            origin: None,
            strip_prefix: false,
            redirect: None,
            status: 302,
            body_size: self.body_size,
            request_timeout: self.request_timeout,
            max_share: self.max_share,
            allow: self.allow.clone(),
            request_buffering: self.request_buffering,
            response_buffering: self.response_buffering,
        };
        match &self.action {
            RouteAction::Pool(name) => {
                table.pool = Some(name.clone());
                table.encode().without(&["origin", "strip-prefix", "redirect", "status"])
            }
            RouteAction::Origin { name, strip_prefix } => {
                table.origin = Some(name.clone());
                table.strip_prefix = *strip_prefix;
                let absent = ["pool", "redirect", "status"];
                table.encode().without(&absent).without(POOL_KEYS)
            }
            RouteAction::Redirect { location, status } => {
                table.redirect = Some(location.clone());
                table.status = *status;
                let absent = ["pool", "origin", "strip-prefix"];
                table.encode().without(&absent).without(POOL_KEYS)
            }
        }
    }
}

/// The keys that say what answers, each with the keys that only it has.
const ACTIONS: [(&str, &[&str]); 3] =
    [("pool", POOL_KEYS), ("origin", &["strip-prefix"]), ("redirect", &["status"])];

/// The keys that only a route with a pool has.
const POOL_KEYS: &[&str] =
    &["request-timeout", "max-share", "request-buffering", "response-buffering"];

fn check_route(route: RouteTable, table: &TableNode, decoder: &mut Decoder<'_>) -> RouteTable {
    check_actions(table, decoder);
    check_references(&route, table, decoder);
    for (method, node) in route.methods.iter().zip(table.elements("methods")) {
        check_method(method, node, decoder);
    }
    if !matches!(route.status, 301 | 302 | 307 | 308) {
        let message = format!("`status`: {} is not 301, 302, 307 or 308", route.status);
        decoder.problem(table.place("status"), message);
    }
    if let Some(location) = &route.redirect {
        let absolute = ["http://", "https://", "/"].iter().any(|start| location.starts_with(start));
        if !absolute || !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message =
                format!("`redirect`: {location:?} is not a URL such as \"https://example.com/\"");
            decoder.problem(table.place("redirect"), message);
        }
    }
    route
}

/// Refuses a route with none or several of the keys that say what answers.
fn check_actions(table: &TableNode, decoder: &mut Decoder<'_>) {
    let present = |key: &&str| table.get(key).is_some();
    let actions: Vec<&str> = ACTIONS.iter().map(|(key, _)| *key).filter(present).collect();
    if actions.is_empty() {
        decoder.absent(table.at, "a route needs one of `pool`, `origin` and `redirect`");
    }
    for extra in actions.iter().skip(1) {
        let message = format!(
            "a route has one of `pool`, `origin` and `redirect`; this one has `{}`",
            actions[0]
        );
        decoder.problem(table.entries[*extra].key_at, message);
    }
    for (action, keys) in ACTIONS {
        for key in keys
            .iter()
            .filter(|key| !actions.is_empty() && !actions.contains(&action) && present(key))
        {
            let message = format!("`{key}` is for a route with `{action}`");
            decoder.problem(table.entries[*key].key_at, message);
        }
    }
}

fn check_references(route: &RouteTable, table: &TableNode, decoder: &mut Decoder<'_>) {
    if let Some(name) = &route.pool
        && !decoder.known.pools.contains_key(name)
    {
        let known: Vec<String> = decoder.known.pools.keys().cloned().collect();
        decoder.unknown_name(table.place("pool"), "pool", name, &known);
    }
    if let Some(name) = &route.origin
        && !decoder.known.origins.contains_key(name)
    {
        let known: Vec<String> = decoder.known.origins.keys().cloned().collect();
        decoder.unknown_name(table.place("origin"), "origin", name, &known);
    }
}

/// A method is an upper-case token: methods are case-sensitive (RFC 9110 §9.1), and no registered
/// one has lower-case letters.
fn check_method(method: &str, node: &Node, decoder: &mut Decoder<'_>) {
    let upper = method.to_ascii_uppercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !method.bytes().all(token) {
        let message = format!("`methods`: {method:?} is not a method such as \"GET\"");
        decoder.problem(node.at, message);
    } else if method != upper {
        decoder.problem(node.at, format!("`methods`: {method:?} is written {upper:?}"));
    }
}

fn check_site(site: SiteConfig, table: &TableNode, decoder: &mut Decoder<'_>) -> SiteConfig {
    if table.elements("route").is_empty() {
        decoder.absent(table.at, "a site needs a route, written [[site.route]]");
    }
    if let Some(known) = decoder.known.listeners.clone() {
        for (name, node) in site.listeners.iter().zip(table.elements("listeners")) {
            if !known.contains(name) {
                decoder.unknown_name(node.at, "listener", name, &known);
            }
        }
    }
    check_duplicate_routes(table, decoder);
    site
}

/// Refuses a route that is never reached: an earlier one has its path and one of its methods.
///
/// Works on the tree, so that a route with another mistake counts as well.
fn check_duplicate_routes(site: &TableNode, decoder: &mut Decoder<'_>) {
    let routes: Vec<(&Node, Vec<&str>)> =
        site.elements("route").iter().filter_map(path_and_methods).collect();
    let mut before: HashMap<Option<&str>, Vec<&(&Node, Vec<&str>)>> = HashMap::new();
    for route in &routes {
        let (path, methods) = route;
        let same_path = before.entry(text(path)).or_default();
        let earlier = same_path.iter().find(|(_, taken)| {
            taken.is_empty() || methods.iter().any(|method| taken.contains(method))
        });
        if let Some((earlier, _)) = earlier {
            let earlier = decoder.sources.position(earlier.at);
            let message =
                format!("`path`: the route at {earlier} has this path and method already");
            decoder.problem(path.at, message);
        }
        same_path.push(route);
    }
}

fn path_and_methods(route: &Node) -> Option<(&Node, Vec<&str>)> {
    let table = route.as_table()?;
    let methods = table.elements("methods").iter().filter_map(text).collect();
    Some((table.get("path")?, methods))
}

fn text(node: &Node) -> Option<&str> {
    if let Data::Text(text) = &node.data { Some(text) } else { None }
}
