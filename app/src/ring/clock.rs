//! The processor time of a thread that runs blocking handlers, and which request it went to.
//!
//! Why it is not read for every request is in `ostler_segment`, beside the words that it goes into.

use std::cell::Cell;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Least time between two readings: a reading is a system call, and most requests are short.
const EVERY: Duration = Duration::from_millis(1);

thread_local! {
    /// What was read last on this thread; `None` on one that runs no handlers.
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    used_us: u64,
}

/// Has this thread's processor time told from here on.
#[expect(clippy::disallowed_methods, reason = "what requests use is measured here")]
pub(crate) fn start() {
    LAST.set(Some(Reading { at: Instant::now(), used_us: thread_us() }));
}

/// What this thread had used when that was read last, in microseconds.
pub(super) fn last_us() -> Option<u64> {
    LAST.get().map(|last| last.used_us)
}

/// What this thread has used since it was read last, if that is some time ago.
#[expect(clippy::disallowed_methods, reason = "what requests use is measured here")]
pub(super) fn used_us() -> Option<u64> {
    let last = LAST.get()?;
    let now = Instant::now();
    if now.saturating_duration_since(last.at) < EVERY {
        return None;
    }
    let reading = Reading { at: now, used_us: thread_us() };
    LAST.set(Some(reading));
    Some(reading.used_us.saturating_sub(last.used_us))
}

/// Processor time of this thread, in microseconds. Asked for through the C library: rustix finds
/// the kernel's function by itself, and valgrind does not survive that.
fn thread_us() -> u64 {
    let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    used.map_or(0, |used| u64::try_from(used.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_uses_is_told_once_and_not_what_others_use() {
        assert_eq!((last_us(), used_us()), (None, None), "this thread runs no handlers");
        start();
        let begun = last_us().unwrap();
        burn(Duration::from_millis(20));
        let used = used_us().unwrap();
        assert!((19_000..2_000_000).contains(&used), "{used}");
        assert_eq!(last_us(), Some(begun + used));
        let slept = std::thread::spawn(|| burn(Duration::from_millis(20)));
        slept.join().unwrap();
        let used = used_us().unwrap();
        assert!(used < 10_000, "{used}: that was another thread's");
    }

    #[test]
    fn short_requests_share_a_reading() {
        start();
        let told = (0..1_000).filter_map(|_| used_us()).count();
        assert!(told < 500, "{told} readings in about no time");
    }

    /// Uses so much processor time.
    fn burn(time: Duration) {
        let until = thread_us() + u64::try_from(time.as_micros()).unwrap();
        while thread_us() < until {}
    }
}
