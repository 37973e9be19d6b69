//! Findings about routes: too many database queries, and failing requests.

use super::{Scene, Severity, Verdict, ago, is_recent};
use crate::anchor;
use crate::snapshot::{LastExit, Route, Snapshot};
use crate::units::{count, milliseconds};

/// Most routes that are told of for each fault, the worst first: the table has all.
const ROUTES: usize = 3;

/// Tells of routes that query the database too often, and of those whose requests fail.
pub(super) fn routes(snapshot: &Snapshot) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut over: Vec<&Route> = snapshot.routes.iter().filter(|route| is_over(route)).collect();
    over.sort_by_key(|route| std::cmp::Reverse(route.window.over_budget));
    verdicts.extend(over.into_iter().take(ROUTES).map(|route| over_budget(snapshot, route)));
    let was_over = |route: &&Route| {
        let last = route.over_budget.as_ref();
        !is_over(route) && last.is_some_and(|last| is_recent(snapshot, last.at))
    };
    let was_over = snapshot.routes.iter().filter(was_over).take(ROUTES);
    verdicts.extend(was_over.filter_map(|route| was_over_budget(snapshot, route)));
    let mut failing: Vec<&Route> =
        snapshot.routes.iter().filter(|route| is_failing(route)).collect();
    failing.sort_by_key(|route| std::cmp::Reverse(let_in(route).1));
    verdicts.extend(failing.into_iter().take(ROUTES).map(|route| failure(snapshot, route)));
    verdicts
}

fn is_over(route: &Route) -> bool {
    route.window.over_budget != 0
}

fn over_budget(snapshot: &Snapshot, route: &Route) -> Verdict {
    let (name, window, budget) = (&route.name, &route.window, snapshot.server.query_budget);
    // A request that ended between two readings may be missing in the other number.
    let requests = window.requests.max(window.over_budget);
    let (over, requests) = (count(window.over_budget), count(requests));
    let last = last(route);
    let rest = format!(
        ": {over} of {requests} requests of the last minute made more than {budget}{last}."
    );
    let lead = format!("Route {name} makes too many database queries");
    let verdict = Verdict::new(Severity::Warning, lead, rest).look(anchor::QUERIES);
    verdict
        .advice(" Load related rows in one query (Django: `select_related`, `prefetch_related`).")
}

/// As in `; the last one, GET /products?page=2, made 45 in 180 ms`.
fn last(route: &Route) -> String {
    route.over_budget.as_ref().map_or_else(String::new, |last| {
        let (method, target) = (&last.method, &last.target);
        let (queries, time) = (count(last.queries), milliseconds(last.db_ms));
        format!("; the last one, {method} {target}, made {queries} in {time}")
    })
}

fn was_over_budget(snapshot: &Snapshot, route: &Route) -> Option<Verdict> {
    let moment = route.over_budget.as_ref()?.at;
    let (name, budget) = (&route.name, snapshot.server.query_budget);
    let ago = ago(snapshot, moment);
    let (total, last) = (count(route.over_budget_total), last(route));
    let rest = format!(", {ago}: {total} requests so far made more than {budget}{last}.");
    let lead = format!("Route {name} made too many database queries");
    Some(Verdict::new(Severity::Note, lead, rest).look(anchor::QUERIES))
}

/// Requests of the last minute that were let in, and those of them that failed.
fn let_in(route: &Route) -> (u64, u64) {
    let window = &route.window;
    let failed = window.errors.saturating_sub(window.shed);
    (window.requests.saturating_sub(window.shed).max(failed), failed)
}

/// One error in a hundred requests is told in the table alone.
fn is_failing(route: &Route) -> bool {
    let (requests, failed) = let_in(route);
    failed != 0 && requests <= failed.saturating_mul(20)
}

fn severity_of(route: &Route) -> Severity {
    let (requests, failed) = let_in(route);
    if requests <= failed.saturating_mul(2) { Severity::Bad } else { Severity::Warning }
}

/// How bad it is that workers of a pool are missing or were: as bad as what that does to routes.
pub(super) fn severity(scene: &Scene<'_>) -> Severity {
    let routes = scene.snapshot.routes.iter().filter(|route| is_failing(route));
    let of_pool = routes.filter(|route| route.pool.as_deref() == Some(scene.name));
    of_pool.map(severity_of).min().unwrap_or(Severity::Warning)
}

fn failure(snapshot: &Snapshot, route: &Route) -> Verdict {
    let (requests, failed) = let_in(route);
    let (failed, requests, cause) = (count(failed), count(requests), cause(snapshot, route));
    let refused = match route.window.shed {
        0 => String::new(),
        refused => format!(" that were not refused ({} were)", count(refused)),
    };
    let rest = format!(
        ": {failed} of {requests} of the last minute{refused} ended with 500 to 599 or were \
         broken off.{cause}"
    );
    let lead = format!("Requests of route {} fail", route.name);
    Verdict::new(severity_of(route), lead, rest).look(anchor::ROUTES)
}

/// What explains that requests fail: a worker that exited in the last minute, or a server down.
fn cause(snapshot: &Snapshot, route: &Route) -> String {
    const MINUTE_MS: u64 = 60_000;
    let exit = route.pool.as_ref().and_then(|pool| snapshot.pools.get(pool)?.last_exit.as_ref());
    let is_late = |exit: &&LastExit| snapshot.taken().ms_since(exit.at) <= MINUTE_MS;
    if let Some(exit) = exit.filter(is_late) {
        let LastExit { slot, generation, exit: how, at, .. } = exit;
        return format!(" Worker {slot}-{generation} exited {}: {how}.", ago(snapshot, *at));
    }
    let origin = route.origin.as_ref().and_then(|name| Some((name, snapshot.origins.get(name)?)));
    let Some((name, origin)) = origin else { return String::new() };
    let down = origin.servers.iter().find(|server| !server.healthy);
    down.map_or_else(String::new, |server| {
        format!(" Server {} of origin {name} is down.", server.url)
    })
}
