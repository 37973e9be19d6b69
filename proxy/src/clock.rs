//! The clocks of the proxy process: the only place that reads them.

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime};

/// Monotonic time: deadlines and durations.
#[expect(clippy::disallowed_methods, reason = "the edge where time enters the proxy")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Time since the epoch: what people read.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Length of an IMF-fixdate (RFC 9110 §5.6.7).
const DATE_LENGTH: usize = 29;

/// The value for `Date`, formatted once a second on each thread.
pub(crate) fn http_date() -> [u8; DATE_LENGTH] {
    thread_local! {
        static CACHED: RefCell<(u64, [u8; DATE_LENGTH])> = const { RefCell::new((0, [0; 29])) };
    }
    let second = unix_now().as_secs();
    CACHED.with_borrow_mut(|(cached_second, date)| {
        if *cached_second != second {
            let text =
                httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            if let Ok(bytes) = <[u8; DATE_LENGTH]>::try_from(text.as_bytes()) {
                *date = bytes;
                *cached_second = second;
            }
        }
        *date
    })
}
