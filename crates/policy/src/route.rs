//! Which route answers a request: the site by host, then the longest path, then the method.
//!
//! Finding costs a few hash look-ups for each segment of the path, however many routes there are,
//! and none for segments that lie beyond every prefix.
//! Built once for each listener from a configuration; never changed afterwards.

use std::collections::HashMap;
use std::sync::Arc;

use ostler_conf::{Config, RouteConfig, RoutePath, SiteConfig};

use crate::http::host::site_name;

/// A route that was found, with the name of its site.
#[derive(Clone, Debug)]
pub struct Route {
    /// The first host of its site, or `*` for a site without hosts.
    pub site: String,
    /// Its place among all routes of the configuration, in the order written.
    pub number: usize,
    /// What the operator wrote.
    pub config: RouteConfig,
}

/// Why no route answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No site has the host, or no route of it the path.
    NotFound,
    /// A route has the path, but none the method. Holds the value for `Allow`.
    Method(String),
}

/// The sites of one listener.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: HashMap<String, Paths>,
    /// Without the `*`, longest first: `.www.example.com` before `.example.com`.
    wildcards: Vec<(String, Paths)>,
    fallback: Option<Paths>,
}

type Paths = Arc<PathTable>;

/// The routes of one site by path.
#[derive(Clone, Debug, Default)]
struct PathTable {
    exact: HashMap<Vec<u8>, Methods>,
    prefixes: HashMap<Vec<u8>, Methods>,
    /// Bytes of the longest prefix.
    longest: usize,
}

/// The routes of one path, in the order written.
type Methods = Vec<Arc<Route>>;

impl Routes {
    /// The sites of `config` that the listener called `listener` serves.
    #[must_use]
    pub fn for_listener(config: &Config, listener: &str) -> Self {
        let mut routes = Self::default();
        let served = |site: &SiteConfig| {
            site.listeners.is_empty() || site.listeners.iter().any(|name| name == listener)
        };
        let mut routes_before: usize = 0;
        for site in &config.sites {
            let first = routes_before;
            routes_before = routes_before.saturating_add(site.routes.len());
            if !served(site) {
                continue;
            }
            let paths = Arc::new(PathTable::new(site, first));
            if site.hosts.is_empty() {
                routes.fallback = Some(Arc::clone(&paths));
            }
            for host in &site.hosts {
                let host = host.to_string();
                match host.strip_prefix('*') {
                    Some(suffix) => routes.wildcards.push((suffix.to_owned(), Arc::clone(&paths))),
                    None => drop(routes.exact.insert(host, Arc::clone(&paths))),
                }
            }
        }
        routes.wildcards.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        routes
    }

    /// The routes of each host, both in the order in which they are tried: exact hosts, then
    /// wildcards, then `*` for any other; exact paths, then prefixes, the longest first.
    #[must_use]
    pub fn in_order(&self) -> Vec<(String, Vec<&Route>)> {
        let mut exact: Vec<_> = self.exact.iter().collect();
        exact.sort_by_key(|(host, _)| *host);
        let exact = exact.into_iter().map(|(host, paths)| (host.clone(), paths));
        let wildcards = self.wildcards.iter().map(|(suffix, paths)| (format!("*{suffix}"), paths));
        let fallback = self.fallback.iter().map(|paths| ("*".to_owned(), paths));
        let hosts = exact.chain(wildcards).chain(fallback);
        hosts.map(|(host, paths)| (host, paths.in_order())).collect()
    }

    /// Finds the route for a checked host, a decoded path and a method.
    ///
    /// # Errors
    ///
    /// What [`NoRoute`] says.
    pub fn find(&self, host: &str, path: &[u8], method: &str) -> Result<&Arc<Route>, NoRoute> {
        let paths = self.site(host).ok_or(NoRoute::NotFound)?;
        let methods = paths.find(path).ok_or(NoRoute::NotFound)?;
        methods
            .iter()
            .find(|route| allows(&route.config.methods, method))
            .ok_or_else(|| NoRoute::Method(allow_field(methods)))
    }

    fn site(&self, host: &str) -> Option<&Paths> {
        let name = site_name(host);
        let wildcard = || {
            let matches = |(suffix, _): &&(String, Paths)| {
                suffix.len() < name.len() && name.ends_with(suffix.as_str())
            };
            self.wildcards.iter().find(matches).map(|(_, paths)| paths)
        };
        self.exact.get(name.as_ref()).or_else(wildcard).or(self.fallback.as_ref())
    }
}

/// What a site is called: its first host, or `*` where it has none.
#[must_use]
pub fn site_label(site: &SiteConfig) -> String {
    site.hosts.first().map_or_else(|| "*".to_owned(), ToString::to_string)
}

/// What operators call a route: its methods, if it names some, its site, if that has a host, and
/// its path. The same name in another configuration is the same route.
#[must_use]
pub fn route_name(site: &str, route: &RouteConfig) -> String {
    let methods = route.methods.join(",");
    let space = if methods.is_empty() { "" } else { " " };
    let site = if site == "*" { "" } else { site };
    format!("{methods}{space}{site}{}", route.path)
}

/// The names of all routes of a configuration, in the order written.
pub fn route_names(config: &Config) -> impl Iterator<Item = String> {
    config.sites.iter().flat_map(|site| {
        let label = site_label(site);
        site.routes.iter().map(move |route| route_name(&label, route))
    })
}

impl PathTable {
    /// The table of a site whose first route has this number.
    fn new(site: &SiteConfig, first: usize) -> Self {
        let name = site_label(site);
        let mut table = Self::default();
        for (number, config) in (first..).zip(&site.routes) {
            let (paths, path) = match &config.path {
                RoutePath::Exact(path) => (&mut table.exact, path),
                RoutePath::Prefix(path) => (&mut table.prefixes, path),
            };
            if matches!(config.path, RoutePath::Prefix(_)) {
                table.longest = table.longest.max(path.len());
            }
            let route = Route { site: name.clone(), number, config: config.clone() };
            paths.entry(path.clone().into_bytes()).or_default().push(Arc::new(route));
        }
        table
    }

    fn in_order(&self) -> Vec<&Route> {
        let sorted = |paths: &'_ HashMap<Vec<u8>, Methods>| {
            let mut keys: Vec<Vec<u8>> = paths.keys().cloned().collect();
            keys.sort_by(|one, other| (other.len(), one).cmp(&(one.len(), other)));
            keys
        };
        let exact = sorted(&self.exact).into_iter().filter_map(|path| self.exact.get(&path));
        let prefixes =
            sorted(&self.prefixes).into_iter().filter_map(|path| self.prefixes.get(&path));
        exact.chain(prefixes).flatten().map(|route| &**route).collect()
    }

    /// The exact path, else the longest prefix that ends at the border of a segment.
    fn find(&self, path: &[u8]) -> Option<&Methods> {
        if let Some(methods) = self.exact.get(path).or_else(|| self.prefixes.get(path)) {
            return Some(methods);
        }
        // With the slash behind it, where the prefix has none itself.
        let mut rest = path.get(..=self.longest).unwrap_or(path);
        while let Some(slash) = memchr::memrchr(b'/', rest) {
            let with_slash = rest.get(..=slash).unwrap_or_default();
            let without = rest.get(..slash).unwrap_or_default();
            let found = self.prefixes.get(with_slash).or_else(|| self.prefixes.get(without));
            if found.is_some() {
                return found;
            }
            rest = without;
        }
        None
    }
}

/// `HEAD` is answered wherever `GET` is (RFC 9110 §9.1: servers support both).
fn allows(methods: &[String], method: &str) -> bool {
    methods.is_empty()
        || methods.iter().any(|allowed| allowed == method || (allowed == "GET" && method == "HEAD"))
}

/// The methods of all routes of one path, for `Allow` (RFC 9110 §10.2.1).
fn allow_field(routes: &Methods) -> String {
    let mut allowed: Vec<&str> = Vec::new();
    for method in routes.iter().flat_map(|route| &route.config.methods) {
        let implied = if method == "GET" { Some("HEAD") } else { None };
        for method in std::iter::once(method.as_str()).chain(implied) {
            if !allowed.contains(&method) {
                allowed.push(method);
            }
        }
    }
    allowed.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_named_in_the_order_of_their_numbers() {
        let text = "[pool.web]\ncommand = ['/bin/web']\n\
                    [[site]]\nhosts = ['a.example', 'b.example']\n\
                    route = [{path='/', pool='web'}, {path='=/x', pool='web', methods=['GET', 'PUT']}]\n\
                    [[site]]\nroute = [{path='/', pool='web'}]\n\
                    [[listener]]\nname = 'public'\naddress = '127.0.0.1:0'\n";
        let config = Config::parse(text, std::path::Path::new("/etc/ostler.toml")).unwrap();
        let names: Vec<String> = route_names(&config).collect();
        assert_eq!(names, ["a.example/", "GET,PUT a.example=/x", "/"]);
    }

    const SITES: &str = r#"
        [pool.web]
        command = ["/bin/web"]
        [[listener]]
        name = "public"
        address = "127.0.0.1:0"
        [[listener]]
        name = "inside"
        address = "127.0.0.1:1"
        [[site]]
        hosts = ["www.example.com", "*.example.com"]
        [[site.route]]
        path = "/"
        redirect = "/root"
        [[site.route]]
        path = "/api"
        redirect = "/api-any"
        [[site.route]]
        path = "/api/v1/"
        methods = ["GET"]
        redirect = "/api-v1-get"
        [[site.route]]
        path = "/api/v1/"
        methods = ["POST"]
        redirect = "/api-v1-post"
        [[site.route]]
        path = "=/api/exact"
        redirect = "/exact"
        [[site]]
        hosts = ["*.deep.example.com"]
        [[site.route]]
        path = "/"
        redirect = "/deep"
        [[site]]
        listeners = ["inside"]
        [[site.route]]
        path = "/only"
        redirect = "/fallback"
    "#;

    #[test]
    fn the_longest_path_at_a_segment_border_wins_then_the_method() {
        check("public", "www.example.com", "/", "GET", "/root");
        check("public", "www.example.com", "/x/y/z", "GET", "/root");
        check("public", "www.example.com", "/api", "GET", "/api-any");
        check("public", "www.example.com", "/api/", "GET", "/api-any");
        check("public", "www.example.com", "/apiary", "GET", "/root");
        check("public", "www.example.com", "/api/v1", "GET", "/api-any");
        check("public", "www.example.com", "/api/v1/x", "GET", "/api-v1-get");
        check("public", "www.example.com", "/api/v1/x", "HEAD", "/api-v1-get");
        check("public", "www.example.com", "/api/v1/x", "POST", "/api-v1-post");
        check("public", "www.example.com", "/api/v1/x", "PUT", "405 GET, HEAD, POST");
        check("public", "www.example.com", "/api/exact", "GET", "/exact");
        check("public", "www.example.com", "/api/exact/x", "GET", "/api-any");
        let deep = ["/api/v1", &"/a".repeat(4000)].concat();
        check("public", "www.example.com", &deep, "GET", "/api-v1-get");
    }

    #[test]
    fn exact_hosts_come_before_the_longest_wildcard_before_a_site_without_hosts() {
        check("public", "WWW.example.com:80", "/", "GET", "/root");
        check("public", "a.example.com", "/", "GET", "/root");
        check("public", "a.deep.example.com", "/", "GET", "/deep");
        check("public", "example.com", "/", "GET", "404");
        check("public", "other", "/only", "GET", "404");
        check("inside", "other", "/only", "GET", "/fallback");
        check("inside", "other", "/only/", "GET", "/fallback");
        check("inside", "other", "/only/x/y", "GET", "/fallback");
        check("inside", "other", "/onlyx/y", "GET", "404");
        check("inside", "other", "/on", "GET", "404");
    }

    #[test]
    fn routes_are_listed_in_the_order_in_which_they_are_tried() {
        let config = Config::parse(SITES, std::path::Path::new("test.toml")).unwrap();
        let listed = Routes::for_listener(&config, "inside");
        let listed = listed.in_order();
        let hosts: Vec<&str> = listed.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(hosts, ["www.example.com", "*.deep.example.com", "*.example.com", "*"]);
        let paths: Vec<String> =
            listed[0].1.iter().map(|route| route.config.path.to_string()).collect();
        assert_eq!(paths, ["=/api/exact", "/api/v1/", "/api/v1/", "/api", "/"]);
        assert_eq!(listed[0].1[1].config.methods, ["GET"], "as written");
    }

    #[track_caller]
    fn check(listener: &str, host: &str, path: &str, method: &str, expected: &str) {
        let config = Config::parse(SITES, std::path::Path::new("test.toml")).unwrap();
        let routes = Routes::for_listener(&config, listener);
        let found = match routes.find(host, path.as_bytes(), method) {
            Ok(route) => match &route.config.action {
                ostler_conf::RouteAction::Redirect { location, .. } => location.clone(),
                other @ (ostler_conf::RouteAction::Pool(_)
                | ostler_conf::RouteAction::Origin { .. }) => format!("{other:?}"),
            },
            Err(NoRoute::NotFound) => "404".to_owned(),
            Err(NoRoute::Method(allow)) => format!("405 {allow}"),
        };
        assert_eq!(found, expected, "{host} {method} {path}");
    }
}
