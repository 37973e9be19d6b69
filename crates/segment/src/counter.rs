//! Which counter stands where in a page.
//!
//! The order is the layout: new counters go to the end of their enum, before the reasons.

/// Declares the counters of one page: their order, their names and their number.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$entry_doc:meta])* $entry:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$entry_doc])* $entry,)+ }

        impl $name {
            /// Every counter, in the order of the page.
            pub const ALL: &[Self] = &[$(Self::$entry,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Returns the name, unique in its page.
            pub fn name(self) -> &'static str {
                match self { $(Self::$entry => $text,)+ }
            }
        }

        impl From<$name> for usize {
            fn from(counter: $name) -> Self {
                counter as Self
            }
        }
    };
}

mod histogram;
mod route;

pub use histogram::{BOUNDS_US, Durations, Histogram};
pub use route::{Route, RouteCounters};

counters! {
    /// Counters of the whole server.
    Server {
        /// Client connections accepted.
        AcceptedTotal = "accepted",
        /// Connections the client closed.
        ClosedClient = "closed_client",
        /// Connections closed because they were idle too long.
        ClosedIdleTimeout = "closed_idle_timeout",
        /// Connections closed after `keepalive.max-requests`.
        ClosedMaxRequests = "closed_max_requests",
        /// Idle connections closed to make room at `server.max-connections`.
        ClosedPressure = "closed_pressure",
        /// Connections closed by a drain.
        ClosedDrain = "closed_drain",
        /// Connections closed after a protocol error, a timeout or a broken socket.
        ClosedError = "closed_error",
        /// Requests answered or given up.
        RequestsTotal = "requests",
        /// Bytes received from clients.
        BytesReceived = "bytes_received",
        /// Bytes sent to clients.
        BytesSent = "bytes_sent",
        /// Requests answered with 100 to 199.
        Status1xx = "status_1xx",
        /// Requests answered with 200 to 299.
        Status2xx = "status_2xx",
        /// Requests answered with 300 to 399.
        Status3xx = "status_3xx",
        /// Requests answered with 400 to 499.
        Status4xx = "status_4xx",
        /// Requests answered with 500 to 599.
        Status5xx = "status_5xx",
        /// Time from first byte to last, summed over requests, in microseconds.
        DurationUsTotal = "duration_us",
    }
}

impl Server {
    /// Places for reasons, after the counters.
    pub const REASONS: usize = 64;
    /// Counters of a server page.
    pub const PAGE: usize = Self::COUNT + Self::REASONS;
    /// Why connections were closed, and what the status page calls it.
    pub const CLOSED: [(Self, &str); 6] = [
        (Self::ClosedClient, "client"),
        (Self::ClosedIdleTimeout, "idle-timeout"),
        (Self::ClosedMaxRequests, "max-requests"),
        (Self::ClosedPressure, "pressure"),
        (Self::ClosedDrain, "drain"),
        (Self::ClosedError, "error"),
    ];
    /// Classes of status, and what the status page calls them.
    pub const STATUS: [(Self, &str); 5] = [
        (Self::Status1xx, "1xx"),
        (Self::Status2xx, "2xx"),
        (Self::Status3xx, "3xx"),
        (Self::Status4xx, "4xx"),
        (Self::Status5xx, "5xx"),
    ];

    /// Returns the place of the reason at `position` of the proxy's table; past the last place,
    /// the last.
    pub fn reason(position: usize) -> usize {
        Self::COUNT + position.min(Self::REASONS - 1)
    }
}

counters! {
    /// Counters of one pool.
    Pool {
        /// Requests handed to a worker.
        RequestsTotal = "requests",
        /// Requests shed because the queue was full.
        ShedQueueFull = "shed_queue_full",
        /// Requests shed after waiting too long.
        ShedQueueTimeout = "shed_queue_timeout",
        /// Requests shed because they would have waited too long.
        ShedPredictedWait = "shed_predicted_wait",
        /// Requests shed because no worker was ready or starting.
        ShedPoolNotReady = "shed_pool_not_ready",
        /// Requests whose client left while they waited.
        Left = "left",
        /// Workers replaced because they exited.
        RecycleExit = "recycle_exit",
        /// Workers replaced because the configuration changed.
        RecycleConfig = "recycle_config",
        /// Workers replaced because an operator asked for it.
        RecycleOperator = "recycle_operator",
        /// Workers replaced because they were not ready in time.
        RecycleStartTimeout = "recycle_start_timeout",
        /// Workers replaced because the proxy that used them died.
        RecycleProxyExit = "recycle_proxy_exit",
        /// Time in the queue, summed over requests, in milliseconds.
        QueueWaitMsTotal = "queue_wait_ms",
        /// Time in the application, summed over requests, in milliseconds.
        RunMsTotal = "run_ms",
        /// Workers replaced because they had served enough requests.
        RecycleMaxRequests = "recycle_max_requests",
        /// Workers replaced because they were too old.
        RecycleMaxAge = "recycle_max_age",
        /// Workers replaced because they took too much memory.
        RecycleMaxMemory = "recycle_max_memory",
        /// Workers replaced because they had no request for too long.
        RecycleMaxIdle = "recycle_max_idle",
        /// Workers replaced because threads of them were stuck.
        RecycleRequestTimeout = "recycle_request_timeout",
        /// Workers replaced because they failed their health check.
        RecycleHealth = "recycle_health",
        /// Workers replaced because a file of the application changed.
        RecycleReloadOnChange = "recycle_reload_on_change",
    }
}

counters! {
    /// Counters of one server of an origin.
    OriginServer {
        /// Requests sent to it.
        RequestsTotal = "requests",
        /// Requests that it did not answer as it should.
        ErrorsTotal = "errors",
    }
}

impl Pool {
    /// Waits in the queue, after the counters.
    pub const QUEUE_WAIT: Histogram = Histogram::at(Self::COUNT);
    /// Times in the application.
    pub const RUN: Histogram = Histogram::at(Self::COUNT + Histogram::PLACES);
    /// Counters of a pool's page.
    pub const PAGE: usize = Self::COUNT + 2 * Histogram::PLACES;
    /// Why requests were shed, and what the status page calls it.
    pub const SHED: [(Self, &str); 4] = [
        (Self::ShedQueueFull, "queue-full"),
        (Self::ShedQueueTimeout, "queue-timeout"),
        (Self::ShedPredictedWait, "predicted-wait"),
        (Self::ShedPoolNotReady, "pool-not-ready"),
    ];
    /// Why workers were replaced, and what the status page calls it.
    pub const RECYCLES: [(Self, &str); 12] = [
        (Self::RecycleExit, "exit"),
        (Self::RecycleConfig, "config"),
        (Self::RecycleOperator, "operator"),
        (Self::RecycleStartTimeout, "start-timeout"),
        (Self::RecycleProxyExit, "proxy-exit"),
        (Self::RecycleMaxRequests, "max-requests"),
        (Self::RecycleMaxAge, "max-age"),
        (Self::RecycleMaxMemory, "max-memory"),
        (Self::RecycleMaxIdle, "max-idle"),
        (Self::RecycleRequestTimeout, "request-timeout"),
        (Self::RecycleHealth, "health"),
        (Self::RecycleReloadOnChange, "reload-on-change"),
    ];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_counter_has_its_own_place_and_name() {
        let places: Vec<usize> = Server::ALL.iter().map(|&counter| counter.into()).collect();
        assert_eq!(places, (0..Server::COUNT).collect::<Vec<_>>());
        let names: BTreeSet<&str> = Server::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Server::COUNT);

        let places: Vec<usize> = Pool::ALL.iter().map(|&counter| counter.into()).collect();
        assert_eq!(places, (0..Pool::COUNT).collect::<Vec<_>>());
        let names: BTreeSet<&str> = Pool::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), Pool::COUNT);
    }

    #[test]
    fn reasons_stand_after_the_counters_and_within_the_page() {
        assert_eq!(Server::reason(0), Server::COUNT);
        assert_eq!(Server::reason(63), Server::PAGE - 1);
        assert_eq!(Server::reason(1000), Server::PAGE - 1);
    }
}
