//! Takes the snapshot that every page of the status listener is made from.

mod routes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ostler_conf::PoolConfig;
use ostler_segment::counter::{
    OriginServer as ServerCounter, Pool as PoolCounter, Server as Counter,
};
use ostler_segment::{CounterPage, Row, RowState};
use ostler_status as status;
use ostler_status::UnixTime;
use procfs::Current as _;

use crate::clock;
use crate::ledger::Ledger;
use crate::live::{LiveConfig, Origin};
use crate::origin::Health;
use crate::pool::{LongWait, Outlook, Pool, PoolView, Standing, WINDOW_S, Worker};
use crate::process_figures::Figures;
use crate::reason::Reason;
use crate::shared::{Gauges, Phase, Shared};

/// Changed keys that are told of.
const CHANGED: usize = 8;

/// The state at this moment. `host` is the one the operator asked for.
pub(crate) fn take(shared: &Shared, live: &LiveConfig, host: &str) -> status::Snapshot {
    let own = Figures::of(std::process::id());
    let supervisor = Figures::of(shared.supervisor.pid);
    let ledger = &shared.ledger;
    let pools: BTreeMap<String, status::Pool> = live
        .config
        .pools
        .iter()
        .filter_map(|(name, config)| {
            let target = live.pools.get(name)?;
            Some((name.clone(), pool(&target.pool, config, ledger)))
        })
        .collect();
    let origins = live.origins.iter().map(|(name, origin)| (name.clone(), self::origin(origin)));
    let workers = live.pools.values().flat_map(|target| target.pool.workers());
    let figures: Vec<Figures> =
        workers.map(|worker| Figures::of_worker(&worker.segment, worker.pid)).collect();
    let sum = |part: fn(&Figures) -> f64| figures.iter().map(part).sum();
    let machine = status::Machine {
        server_name: host.to_owned(),
        built: concat!("ostler ", env!("CARGO_PKG_VERSION")).to_owned(),
        load: procfs::LoadAverage::current()
            .ok()
            .map(|load| [load.one, load.five, load.fifteen].map(f64::from)),
        cpu_user_s: own.user_s + supervisor.user_s,
        cpu_system_s: own.system_s + supervisor.system_s,
        cpu_children_user_s: sum(|figures| figures.user_s),
        cpu_children_system_s: sum(|figures| figures.system_s),
    };
    let mut snapshot = status::Snapshot {
        server: server(shared, live, &own),
        connections: connections(shared, live),
        requests: requests(shared),
        origins: origins.collect(),
        routes: routes::take(ledger, live),
        machine,
        pools,
        ..status::Snapshot::default()
    };
    shared.history.fill(&mut snapshot);
    snapshot
}

fn server(shared: &Shared, live: &LiveConfig, own: &Figures) -> status::Server {
    let supervisor = &shared.supervisor;
    status::Server {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: supervisor.pid,
        generation: u64::from(supervisor.incarnation),
        started: moment(supervisor.started),
        uptime_s: clock::unix_now().saturating_sub(supervisor.started).as_secs_f64(),
        draining: *shared.phase.borrow() != Phase::Serving,
        config_version: live.version,
        config_loaded: moment(live.loaded),
        config_changes: config_changes(&live.changed),
        config_error: shared.config_error.load().as_ref().clone(),
        proxy: status::Proxy {
            pid: std::process::id(),
            rss_bytes: own.rss_bytes,
            cpu_s: Some(own.user_s + own.system_s),
            fds: own.fds,
            fds_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            spool_bytes: live.spool.used_bytes(),
            spool_max_bytes: live.config.spool.max_size.0,
        },
        query_budget: u64::from(live.config.status.query_budget),
        ..status::Server::default()
    }
}

fn config_changes(changed: &[String]) -> status::ConfigChanges {
    let keys: Vec<String> = changed.iter().take(CHANGED).cloned().collect();
    let left_out = changed.len().saturating_sub(keys.len()) as u64;
    status::ConfigChanges { keys, left_out }
}

fn connections(shared: &Shared, live: &LiveConfig) -> status::Connections {
    let Gauges { open, idle, writing, in_flight: _ } = &shared.gauges;
    let (open, idle, writing) = (read(open), read(idle), read(writing));
    let closed = |counter: Counter| shared.counters.get(counter);
    status::Connections {
        // Each gauge is exact; read one after the other they may be one connection apart.
        open: open.max(idle + writing),
        reading: open.saturating_sub(idle + writing),
        writing,
        idle,
        upgraded: 0,
        max: live.config.server.max_connections as u64,
        accepted_total: closed(Counter::AcceptedTotal),
        closed_total: status::ClosedTotal {
            client: closed(Counter::ClosedClient),
            idle_timeout: closed(Counter::ClosedIdleTimeout),
            max_requests: closed(Counter::ClosedMaxRequests),
            pressure: closed(Counter::ClosedPressure),
            drain: closed(Counter::ClosedDrain),
            error: closed(Counter::ClosedError),
        },
    }
}

fn requests(shared: &Shared) -> status::Requests {
    let count = |counter: Counter| shared.counters.get(counter);
    let by_reason = Reason::ALL.iter().map(|reason| {
        (reason.word().to_owned(), shared.counters.get(Counter::reason(reason.position())))
    });
    status::Requests {
        total: count(Counter::RequestsTotal),
        in_flight: read(&shared.gauges.in_flight),
        bytes_received_total: count(Counter::BytesReceived),
        bytes_sent_total: count(Counter::BytesSent),
        by_status: status::ByStatus {
            informational: count(Counter::Status1xx),
            success: count(Counter::Status2xx),
            redirection: count(Counter::Status3xx),
            client_error: count(Counter::Status4xx),
            server_error: count(Counter::Status5xx),
        },
        by_reason: by_reason.collect(),
        duration_ms_total: count(Counter::DurationUsTotal) / 1_000,
    }
}

fn pool(pool: &Pool, config: &PoolConfig, ledger: &Ledger) -> status::Pool {
    let view = pool.view();
    let now = clock::unix_now();
    let standings: Vec<Standing> = view.workers.iter().map(|worker| worker.standing()).collect();
    let count = |wanted: fn(Standing) -> bool| {
        u32::try_from(standings.iter().filter(|&&standing| wanted(standing)).count()).unwrap_or(0)
    };
    let ready = count(|standing| standing == Standing::Ready);
    let starting = count(|standing| matches!(standing, Standing::Starting | Standing::Warming));
    let counters = &pool.counters;
    let workers = workers(&view, now, ledger);
    status::Pool {
        state: state(config, ready, starting, view.degraded_since.is_some()),
        degraded_since: view.degraded_since.map(moment),
        processes: config.processes,
        threads: config.threads,
        concurrency: config.concurrency,
        capacity: u64::from(config.processes) * u64::from(config.concurrency),
        ready,
        busy: u64::from(view.busy),
        stuck: workers.iter().map(stuck).sum(),
        queued: view.queued as u64,
        queue_length: u64::from(config.queue_length),
        queue_oldest_ms: view.oldest_wait.map_or(0, whole_ms),
        full_since: view.full_since.map(moment),
        queue_full_since: view.queue_full_since.map(moment),
        window_s: WINDOW_S,
        queue_wait_ms: percentiles(&view.queue_wait),
        run_ms: percentiles(&view.run),
        shed_total: status::ShedTotal {
            queue_full: counters.get(PoolCounter::ShedQueueFull),
            queue_timeout: counters.get(PoolCounter::ShedQueueTimeout),
            predicted_wait: counters.get(PoolCounter::ShedPredictedWait),
            pool_not_ready: counters.get(PoolCounter::ShedPoolNotReady),
        },
        blame: view.long_waits.iter().map(blame).collect(),
        left_total: counters.get(PoolCounter::Left),
        recycles_total: recycles(counters),
        recycled: view.recycled.clone(),
        recycles_pending: pending(&view.outlook),
        retry_in_ms: view
            .outlook
            .retry_at
            .map(|at| whole_ms(at.saturating_duration_since(clock::now()))),
        last_exit: view.last_exit.clone(),
        post_mortems: pool.post_mortems.load().as_ref().clone(),
        requests_total: counters.get(PoolCounter::RequestsTotal),
        queue_wait_ms_total: counters.get(PoolCounter::QueueWaitMsTotal),
        run_ms_total: counters.get(PoolCounter::RunMsTotal),
        queue_wait: routes::histogram(&PoolCounter::QUEUE_WAIT.read(counters)),
        run: routes::histogram(&PoolCounter::RUN.read(counters)),
        workers,
    }
}

fn stuck(worker: &status::Worker) -> u64 {
    worker.threads.iter().filter(|thread| thread.stuck).count() as u64
}

fn blame(wait: &LongWait) -> status::Blame {
    let routes = wait.blame.routes.iter().map(|blamed| status::Blamed {
        route: blamed.route.to_string(),
        count: blamed.count,
        median_age_ms: whole_ms(blamed.median_age),
    });
    status::Blame {
        at: moment(wait.at),
        waited_ms: whole_ms(wait.waited),
        held: wait.blame.held,
        capacity: wait.blame.capacity,
        routes: routes.collect(),
    }
}

fn state(
    config: &PoolConfig,
    ready: u32,
    starting: u32,
    has_been_whole: bool,
) -> status::PoolState {
    if config.processes <= ready {
        status::PoolState::Ok
    } else if 0 < ready || (0 < starting && has_been_whole) {
        status::PoolState::Degraded
    } else if 0 < starting {
        status::PoolState::Starting
    } else {
        status::PoolState::Down
    }
}

fn recycles(counters: &CounterPage) -> BTreeMap<String, u64> {
    PoolCounter::RECYCLES
        .iter()
        .map(|&(counter, name)| (name.to_owned(), counters.get(counter)))
        .collect()
}

fn pending(outlook: &Outlook) -> Vec<status::PendingRecycle> {
    let pending = outlook.pending.iter();
    pending.map(|it| status::PendingRecycle { slot: it.slot, reason: it.reason.clone() }).collect()
}

fn workers(view: &PoolView, now: Duration, ledger: &Ledger) -> Vec<status::Worker> {
    let mut workers: Vec<status::Worker> =
        view.workers.iter().map(|known| worker(known, now, ledger)).collect();
    workers.sort_by_key(|worker| (worker.slot, worker.generation));
    workers
}

fn worker(worker: &Worker, now: Duration, ledger: &Ledger) -> status::Worker {
    let figures = Figures::of_worker(&worker.segment, worker.pid);
    let state = match worker.standing() {
        Standing::Starting => status::WorkerState::Starting,
        Standing::Warming => status::WorkerState::Warming,
        Standing::Ready => status::WorkerState::Ready,
        Standing::Draining => status::WorkerState::Draining,
        Standing::Killed => status::WorkerState::Killed,
    };
    let threads: Vec<status::Thread> = (0..)
        .zip(worker.segment.iter())
        .map(|(number, row)| thread((number, row), state, now, ledger))
        .collect();
    status::Worker {
        slot: worker.id.slot,
        generation: worker.id.generation,
        pid: worker.pid,
        state,
        age_s: clock::now().saturating_duration_since(worker.started).as_secs_f64(),
        rss_bytes: figures.rss_bytes,
        cpu_s: Some(figures.user_s + figures.system_s),
        requests_total: threads
            .iter()
            .map(|thread| thread.requests_total)
            .fold(0, u64::saturating_add),
        threads,
    }
}

fn thread(
    (number, row): (u32, Row<'_>),
    worker: status::WorkerState,
    now: Duration,
    ledger: &Ledger,
) -> status::Thread {
    let Some(row) = row.snapshot() else {
        // It changes faster than it can be read: busy, with nothing certain to tell.
        let state = status::ThreadState::of(worker, true);
        return status::Thread { thread: number, state, ..status::Thread::default() };
    };
    let request = row.request.map(|request| {
        let started = Duration::from_micros(request.started_unix_us);
        status::Request {
            id: request.summary.id,
            method: request.summary.method,
            target: request.summary.target,
            host: request.summary.host,
            site: request.summary.site,
            client: request.summary.client,
            protocol: request.summary.protocol,
            queued_ms: request.queued_us / 1_000,
            running_ms: whole_ms(now.saturating_sub(started)),
            route: ledger.name(request.route).map_or_else(String::new, |name| name.to_string()),
            cpu_ms: request.cpu_us.map(|us| us / 1_000),
            costs: costs(&request.costs),
        }
    });
    status::Thread {
        thread: number,
        tid: (row.tid != 0).then_some(row.tid),
        state: status::ThreadState::of(worker, row.state != RowState::Free),
        stuck: row.state == RowState::Stuck,
        requests_total: row.requests_total,
        // A worker that does not tell its threads does not tell their time either.
        cpu_s: (row.tid != 0).then(|| Duration::from_micros(row.cpu_us_total).as_secs_f64()),
        request,
    }
}

/// Costs as the status page has them.
pub(crate) fn costs(costs: &ostler_segment::Costs) -> status::Costs {
    let ms = |us| Duration::from_micros(us).as_secs_f64() * 1_000.0;
    status::Costs {
        db_queries: costs.db_queries,
        db_ms: ms(costs.db_us),
        outbound_calls: costs.outbound_calls,
        outbound_ms: ms(costs.outbound_us),
        cache_hits: costs.cache_hits,
        cache_misses: costs.cache_misses,
        lock_ms: ms(costs.lock_us),
    }
}

fn origin(origin: &Origin) -> status::Origin {
    let Origin::Servers(origin) = origin else { return status::Origin::default() };
    let servers = origin.servers.iter().map(|server| {
        let Health { since, failure } = server.health();
        status::OriginServer {
            url: server.url.to_string(),
            healthy: failure.is_none(),
            since: Some(moment(since)),
            reason: failure,
            in_flight: read(&server.in_flight),
            requests_total: server.counters.get(ServerCounter::RequestsTotal),
            errors_total: server.counters.get(ServerCounter::ErrorsTotal),
        }
    });
    status::Origin { servers: servers.collect(), cache: None }
}

fn percentiles(window: &crate::pool::Percentiles) -> status::Percentiles {
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    status::Percentiles { p50: ms(window.p50), p99: ms(window.p99), max: ms(window.max) }
}

fn moment(unix: Duration) -> UnixTime {
    UnixTime::from_ms(whole_ms(unix))
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn read(gauge: &AtomicI64) -> u64 {
    u64::try_from(gauge.load(Ordering::Relaxed)).unwrap_or(0)
}
