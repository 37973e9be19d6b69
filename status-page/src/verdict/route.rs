//! Findings about routes: too many database queries, and failing requests.

use super::{Severity, Verdict, ago, is_recent};
use crate::anchor;
use crate::snapshot::{Route, Snapshot};
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
    failing.sort_by_key(|route| std::cmp::Reverse(route.window.errors));
    verdicts.extend(failing.into_iter().take(ROUTES).map(failure));
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

/// One error in a hundred requests is told in the table alone.
fn is_failing(route: &Route) -> bool {
    let window = &route.window;
    window.errors != 0 && window.requests <= window.errors.saturating_mul(20)
}

fn failure(route: &Route) -> Verdict {
    let (name, window) = (&route.name, &route.window);
    let requests = window.requests.max(window.errors);
    let severity =
        if requests <= window.errors.saturating_mul(2) { Severity::Bad } else { Severity::Warning };
    let (errors, requests) = (count(window.errors), count(requests));
    let rest = format!(
        ": {errors} of {requests} of the last minute ended with 500 to 599 or were broken off."
    );
    let lead = format!("Requests of route {name} fail");
    Verdict::new(severity, lead, rest).look(anchor::ROUTES)
}
