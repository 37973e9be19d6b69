//! The finding which route holds a pool that has no room.

use std::collections::BTreeMap;

use super::{Scene, Severity, Verdict};
use crate::anchor;
use crate::snapshot::Route;

/// Names the route with the most rows, while the pool is full or requests wait.
pub(super) fn holder(scene: &Scene<'_>) -> Option<Verdict> {
    if !scene.is_full() && scene.pool.queued == 0 {
        return None;
    }
    let Holder { route, busy, share } = most(scene)?;
    let (name, capacity, unit) = (scene.name, scene.pool.capacity, scene.unit());
    let share = share.map_or_else(String::new, |share| {
        format!(" ({:.0} % of its thread-seconds of the last minute)", share * 100.0)
    });
    let (severity, holds) = if capacity <= busy.saturating_mul(2) {
        (scene.severity(), format!("holds {busy} of {capacity} {unit} of pool {name}"))
    } else {
        let holds = format!("holds the most {unit} of pool {name}, {busy} of {capacity}");
        (Severity::Warning, holds)
    };
    let advice =
        if is_alone(scene, route) { "" } else { " Its `max-share` would leave room for others." };
    let rest = format!(" {holds}{share}.");
    let verdict = Verdict::new(severity, format!("Route {route}"), rest);
    Some(verdict.advice(advice).look(anchor::ROUTES))
}

struct Holder<'a> {
    route: &'a str,
    busy: u64,
    share: Option<f64>,
}

/// By the routes' own numbers; by the requests in the rows where there are none.
fn most<'a>(scene: &Scene<'a>) -> Option<Holder<'a>> {
    let by_number = routes(scene).max_by_key(|route| route.busy).filter(|route| route.busy != 0);
    if let Some(route) = by_number {
        let share = Some(route.window.thread_share).filter(|share| 0.0 < *share);
        return Some(Holder { route: &route.name, busy: route.busy, share });
    }
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for row in scene.busiest.iter().filter(|row| !row.request.route.is_empty()) {
        *rows.entry(&row.request.route).or_default() += 1;
    }
    let (route, busy) = rows.into_iter().max_by_key(|(_, busy)| *busy)?;
    Some(Holder { route, busy, share: None })
}

fn routes<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Route> {
    let name = scene.name;
    scene.snapshot.routes.iter().filter(move |route| route.pool.as_deref() == Some(name))
}

/// Whether nobody else could have the room that a share would leave.
fn is_alone(scene: &Scene<'_>, route: &str) -> bool {
    routes(scene).all(|other| other.name == route)
}
