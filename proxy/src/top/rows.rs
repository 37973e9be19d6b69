//! Which requests and routes are listed, and in which order.

use std::cmp::Reverse;

use ostler_status::{Request, Route, Snapshot, Thread, Worker};

use super::state::{Sort, State};

/// A request in the application, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running<'a> {
    pub(crate) pool: &'a str,
    pub(crate) worker: &'a Worker,
    pub(crate) thread: &'a Thread,
    pub(crate) request: &'a Request,
}

/// Requests of the pools that are shown: the stuck ones first, then by what was asked for; among
/// equals the longest-running first.
pub(crate) fn requests<'a>(snapshot: &'a Snapshot, state: &State) -> Vec<Running<'a>> {
    let mut rows: Vec<Running<'_>> = Vec::new();
    let pools = snapshot.pools.iter().filter(|(name, _)| is_shown(state, Some(name)));
    for (pool, worker) in
        pools.flat_map(|(name, pool)| pool.workers.iter().map(move |it| (name, it)))
    {
        rows.extend(worker.threads.iter().filter_map(|thread| {
            let request = thread.request.as_ref()?;
            Some(Running { pool, worker, thread, request })
        }));
    }
    rows.sort_by_key(|row| Reverse(row.request.running_ms));
    match state.sort {
        Sort::Time => {}
        Sort::Processor => rows.sort_by_key(|row| Reverse(row.request.cpu_ms)),
        Sort::Queries => rows.sort_by_key(|row| Reverse(row.request.costs.db_queries)),
        Sort::Route => rows.sort_by_key(|row| &row.request.route),
        Sort::Pool => rows.sort_by_key(|row| row.pool),
    }
    rows.sort_by_key(|row| !row.thread.stuck);
    rows
}

/// Routes of the pools that are shown; by time means by share of thread-seconds.
pub(crate) fn routes<'a>(snapshot: &'a Snapshot, state: &State) -> Vec<&'a Route> {
    let shown = |route: &&Route| is_shown(state, route.pool.as_deref());
    let mut rows: Vec<&Route> = snapshot.routes.iter().filter(shown).collect();
    let most = |key: fn(&Route) -> f64| {
        move |one: &&Route, other: &&Route| key(other).total_cmp(&key(one))
    };
    rows.sort_by(most(|route| route.thread_s_total));
    rows.sort_by(most(|route| route.window.thread_s));
    match state.sort {
        Sort::Time => {}
        Sort::Processor => rows.sort_by(most(|route| route.window.cpu_s)),
        Sort::Queries => rows.sort_by(most(queries_each)),
        Sort::Route => rows.sort_by_key(|route| &route.name),
        Sort::Pool => rows.sort_by_key(|route| &route.pool),
    }
    rows
}

/// Database queries that a request of a route made in the window.
pub(crate) fn queries_each(route: &Route) -> f64 {
    let (costs, requests) = (&route.window.costs, route.window.requests);
    #[expect(clippy::cast_precision_loss, reason = "a mean is shown with one decimal")]
    let mean = costs.db_queries as f64 / requests.max(1) as f64;
    mean
}

/// Whether what belongs to this pool is shown; what belongs to none is shown with all.
pub(crate) fn is_shown(state: &State, pool: Option<&str>) -> bool {
    state.pool.is_none() || state.pool.as_deref() == pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_status::Pool;

    #[test]
    fn stuck_requests_are_first_however_the_others_are_sorted() {
        check(Sort::Time, None, "stuck slow busy quick");
        check(Sort::Processor, None, "stuck busy slow quick");
        check(Sort::Queries, None, "stuck quick slow busy");
        check(Sort::Route, None, "stuck quick slow busy");
        check(Sort::Pool, None, "stuck busy slow quick");
        check(Sort::Time, Some("web"), "stuck slow quick");
        check(Sort::Time, Some("api"), "busy");
        check(Sort::Time, Some("none"), "");
    }

    #[test]
    fn routes_are_sorted_by_their_share_of_thread_seconds() {
        let mut snapshot = Snapshot::default();
        for (name, pool, thread_s, queries) in [("/a", "web", 1.0, 50), ("/b", "api", 9.0, 0)] {
            let mut route =
                Route { name: name.into(), pool: Some(pool.into()), ..Route::default() };
            route.window.thread_s = thread_s;
            route.window.requests = 10;
            route.window.costs.db_queries = queries;
            snapshot.routes.push(route);
        }
        let names = |sort, pool: Option<&str>| {
            let state = State { sort, pool: pool.map(str::to_owned), ..State::default() };
            let routes = routes(&snapshot, &state);
            routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(Sort::Time, None), ["/b", "/a"]);
        assert_eq!(names(Sort::Queries, None), ["/a", "/b"]);
        assert_eq!(names(Sort::Route, None), ["/a", "/b"]);
        assert_eq!(names(Sort::Time, Some("web")), ["/a"]);
        let means: Vec<f64> = snapshot.routes.iter().map(queries_each).collect();
        assert!((means[0] - 5.0).abs() < 1e-9 && means[1].abs() < 1e-9, "{means:?}");
    }

    #[track_caller]
    fn check(sort: Sort, pool: Option<&str>, expected: &str) {
        let rows = [
            ("quick", 1, 1, 9, "/a", false),
            ("slow", 90, 2, 1, "/b", false),
            ("stuck", 5, 0, 0, "/z", true),
        ];
        let mut snapshot = Snapshot::default();
        snapshot.pools.insert("web".into(), with(&rows));
        snapshot.pools.insert("api".into(), with(&[("busy", 50, 8, 0, "/c", false)]));
        let state = State { sort, pool: pool.map(str::to_owned), ..State::default() };
        let rows = requests(&snapshot, &state);
        let ids: Vec<&str> = rows.iter().map(|row| row.request.id.as_str()).collect();
        assert_eq!(ids.join(" "), expected, "{sort:?}");
    }

    fn with(rows: &[(&str, u64, u64, u64, &str, bool)]) -> Pool {
        let thread =
            |&(id, running_ms, cpu_ms, db_queries, route, stuck): &(_, _, _, _, &str, _)| {
                let id: &str = id;
                let mut request = Request { id: id.into(), running_ms, ..Request::default() };
                request.cpu_ms = Some(cpu_ms);
                request.costs.db_queries = db_queries;
                request.route = route.into();
                Thread { stuck, request: Some(request), ..Thread::default() }
            };
        let worker = Worker { threads: rows.iter().map(thread).collect(), ..Worker::default() };
        Pool { workers: vec![worker], ..Pool::default() }
    }
}
