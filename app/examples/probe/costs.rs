//! What requests of the probe cost, and what they report of it.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use ostler_app::{Context, cost};

use crate::sleep;

/// What one reported query takes.
const QUERY: Duration = Duration::from_millis(1);

/// Reports so many database queries, one after the other.
pub(crate) fn report(count: u64) {
    (0..count).for_each(|_| cost("db.query", 1, QUERY));
}

/// Goes on reporting database queries of this request, whatever has become of it meanwhile.
#[expect(clippy::disallowed_methods, reason = "it is the thread of a faulty application")]
pub(crate) fn haunt(time: Duration) {
    let context = Context::current();
    let begun = Instant::now();
    std::thread::spawn(move || {
        while begun.elapsed() < time {
            context.cost("db.query", 1, QUERY);
            sleep(Duration::from_micros(100));
        }
    });
}

/// Uses so much processor time of this thread.
pub(crate) fn burn(time: Duration) {
    let begun = used();
    while used().saturating_sub(begun) < time {}
}

fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}
