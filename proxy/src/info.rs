//! Gathers what `/server-info` shows, and says in the log which limits of the system are low.

mod features;
mod system;

use ostler_conf::{RouteAction, RouteConfig};
use ostler_policy::machine::{Limit, Unit, limits};
use ostler_policy::route::{Route, Routes};
use ostler_status::units::{bytes, seconds};
use ostler_status::{Fact, Info, InfoLimit, InfoRoute, ListenerRoutes, UnixTime};

use crate::clock;
use crate::live::LiveConfig;
use crate::process_figures::Figures;
use crate::shared::Shared;

/// All of it, at this moment.
pub(crate) fn take(shared: &Shared, live: &LiveConfig) -> Info {
    Info {
        server: facts(shared, live),
        limits: found(live).into_iter().map(shown_limit).collect(),
        features: features::list(shared, live),
        routes: routes(live),
        config: live.shown.clone(),
        taken: moment(clock::unix_now()),
    }
}

/// Logs each limit that is lower than the configuration may need.
pub(crate) fn log_low_limits(live: &LiveConfig) {
    for limit in found(live).iter().filter(|limit| limit.is_low()) {
        let Limit { name, needed, found, remedy, .. } = limit;
        let found = found.unwrap_or_default();
        tracing::warn!(limit = name, needed, found, remedy, "limit_low");
    }
}

fn found(live: &LiveConfig) -> Vec<Limit> {
    limits(&live.config, &system::machine(&live.config, &live.spool))
}

fn shown_limit(limit: Limit) -> InfoLimit {
    InfoLimit {
        name: limit.name.to_owned(),
        needed: limit.needed,
        found: limit.found,
        is_bytes: limit.unit == Unit::Bytes,
        is_low: limit.is_low(),
        sum: limit.sum,
        remedy: limit.remedy.to_owned(),
    }
}

fn facts(shared: &Shared, live: &LiveConfig) -> Vec<Fact> {
    let supervisor = &shared.supervisor;
    let (kernel, clock_source, up_s) = system::kernel();
    #[expect(clippy::cast_precision_loss, reason = "an age is shown with two units")]
    let up = up_s.map_or_else(|| "?".to_owned(), |up_s| seconds(up_s as f64));
    let own = Figures::of(std::process::id());
    let memory = own.rss_bytes.map_or_else(|| "?".to_owned(), bytes);
    let workers: usize = live.pools.values().map(|target| target.pool.view().workers.len()).sum();
    let built = format!(
        "{}, {}, {}",
        env!("OSTLER_BUILD_RUSTC"),
        env!("OSTLER_BUILD_TARGET"),
        env!("OSTLER_BUILD_PROFILE")
    );
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
    vec![
        fact("Version", env!("CARGO_PKG_VERSION").to_owned()),
        fact("Commit", env!("OSTLER_BUILD_COMMIT").to_owned()),
        fact("Built with", built),
        fact("Started", moment(supervisor.started).date_and_clock()),
        fact(
            "Configuration",
            format!("{}, since {}", live.version, moment(live.loaded).date_and_clock()),
        ),
        fact("Supervisor", format!("pid {}", supervisor.pid)),
        fact(
            "Proxy",
            format!(
                "pid {}, number {} of this supervisor, {} event loops, {memory}",
                std::process::id(),
                supervisor.incarnation,
                live.config.server.threads
            ),
        ),
        fact("Workers", format!("{workers} in {} pools", live.pools.len())),
        fact("Kernel", kernel),
        fact("Machine up", up),
        fact("Clock source", clock_source),
    ]
}

fn moment(since_epoch: std::time::Duration) -> UnixTime {
    UnixTime::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

fn routes(live: &LiveConfig) -> Vec<ListenerRoutes> {
    let listener = |listener: &ostler_conf::ListenerConfig| {
        let tried = live.routes(&listener.name).map(Routes::in_order);
        let routes = tried.into_iter().flatten().flat_map(|(host, routes)| {
            let shown = routes.into_iter().map(|route| shown_route(live, &host, route));
            shown.collect::<Vec<_>>()
        });
        ListenerRoutes { listener: listener.name.clone(), routes: routes.collect() }
    };
    live.config.listeners.iter().map(listener).collect()
}

fn shown_route(live: &LiveConfig, host: &str, route: &Route) -> InfoRoute {
    let config = &route.config;
    let target = match &config.action {
        RouteAction::Pool(name) => format!("pool {name}"),
        RouteAction::Origin { name, strip_prefix: false } => format!("origin {name}"),
        RouteAction::Origin { name, strip_prefix: true } => {
            format!("origin {name}, without the prefix")
        }
        // The place itself may have a secret in it, which the configuration's text masks.
        RouteAction::Redirect { status, .. } => format!("redirect {status}"),
    };
    InfoRoute {
        host: host.to_owned(),
        path: config.path.to_string(),
        methods: config.methods.clone(),
        target,
        differs: differs(live, config),
    }
}

/// What a route sets differently from what it would have by default.
fn differs(live: &LiveConfig, route: &RouteConfig) -> Vec<String> {
    let mut differs = Vec::new();
    if route.body_size != live.config.limits.body_size {
        differs.push(format!("body-size {}", route.body_size));
    }
    if let RouteAction::Pool(name) = &route.action
        && let Some(pool) = live.config.pools.get(name)
        && pool.request_timeout != route.request_timeout
    {
        let timeout = route.request_timeout;
        let timeout = timeout.map_or_else(|| "no limit".to_owned(), |it| seconds(it.as_secs_f64()));
        differs.push(format!("request-timeout {timeout}"));
    }
    if let Some(share) = route.max_share {
        differs.push(format!("max-share {} of 100", share.of(100)));
    }
    if !route.allow.is_empty() {
        differs.push(format!("allow {} networks", route.allow.len()));
    }
    if !route.request_buffering {
        differs.push("request-buffering off".to_owned());
    }
    if route.response_buffering != ostler_conf::ResponseBuffering::Spool {
        differs.push(format!("response-buffering {:?}", route.response_buffering).to_lowercase());
    }
    differs
}
