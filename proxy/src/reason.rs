//! The reason words: why a request ended other than its route promised.
//!
//! They stand in the access log, the metrics, the status page and, for operators, in
//! `x-ostler-reason`. Their order is the order of their counters.

macro_rules! reasons {
    ($($variant:ident => $word:literal,)+) => {
        /// Why a request did not get what its route promised.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason { $($variant,)+ }

        impl Reason {
            /// Every reason, in the order of their counters.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word operators read.
            pub(crate) const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Position among the counters.
            pub(crate) const fn position(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    BadRequest => "bad-request",
    Forbidden => "forbidden",
    NoRoute => "no-route",
    NoFile => "no-file",
    Method => "method",
    HeadTimeout => "head-timeout",
    BodyTimeout => "body-timeout",
    BodyTooLarge => "body-too-large",
    TargetTooLong => "target-too-long",
    Range => "range",
    HeadTooLarge => "head-too-large",
    ClientLeft => "client-left",
    Internal => "internal",
    NotImplemented => "not-implemented",
    Version => "version",
    WorkerExited => "worker-exited",
    WorkerClosed => "worker-closed",
    WorkerBadResponse => "worker-bad-response",
    OriginConnect => "origin-connect",
    OriginBroken => "origin-broken",
    QueueFull => "queue-full",
    QueueTimeout => "queue-timeout",
    PoolNotReady => "pool-not-ready",
    NoResources => "no-resources",
    RequestTimeout => "request-timeout",
    OriginTimeout => "origin-timeout",
    PredictedWait => "predicted-wait",
}

impl Reason {
    /// Whether the request was refused before it had a row, because of all the others.
    pub(crate) const fn is_shed(self) -> bool {
        matches!(
            self,
            Self::QueueFull | Self::QueueTimeout | Self::PredictedWait | Self::PoolNotReady
        )
    }

    /// Whether a worker or an origin has not answered as it should, whatever the client was told.
    pub(crate) const fn is_upstream(self) -> bool {
        matches!(
            self,
            Self::WorkerExited
                | Self::WorkerClosed
                | Self::WorkerBadResponse
                | Self::RequestTimeout
                | Self::OriginConnect
                | Self::OriginBroken
                | Self::OriginTimeout
        )
    }
}

// The server's counter page has so many places for reasons.
const _: () = assert!(Reason::ALL.len() <= ostler_segment::counter::Server::REASONS);
