//! What an application reports of a request while it works for it: queries, calls, cache hits.
//!
//! Which request that is, is known wherever code runs for it: on the thread of a blocking handler,
//! and while a service's future is polled. Over the ring link a report is added to the request's
//! row at once, under a lock that the end of the request takes too: what comes later changes
//! nothing. On a connection it is gathered, and goes into the answer's head as `Server-Timing`.

mod kind;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use ostler_segment::{Cost, Costs};

use self::kind::Kind;
use crate::ring::Taken;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

tokio::task_local! {
    static CURRENT: Context;
}

/// A request, to report what it costs.
///
/// [`cost`] does without one. It is for code that the request's thread or task hands its work to,
/// and may be kept: once the request has ended, its reports are dropped.
///
/// ```
/// use std::time::{Duration, Instant};
/// use ostler_app::Context;
///
/// let context = Context::current();
/// std::thread::spawn(move || {
///     let asked = Instant::now();
///     // … asks another service …
///     context.cost("http.search", 1, asked.elapsed());
/// });
/// ```
#[derive(Clone, Debug)]
pub struct Context(Place);

/// Where reports go.
#[derive(Clone, Debug)]
enum Place {
    /// Nowhere: no request is worked for.
    Nowhere,
    /// Into the request's row.
    Row(Taken),
    /// Into the head of its answer.
    Head(Arc<Gathered>),
}

#[derive(Debug, Default)]
struct Gathered([AtomicU64; Cost::COUNT]);

/// Reports what the request that is worked for has cost: `count` of something, that took `took`
/// together.
///
/// The name says what, by its first word:
///
/// | name | counts as |
/// |---|---|
/// | `db`, `db.…` | database queries, and their time |
/// | `http`, `http.…`, `outbound`, `outbound.…` | calls to other services, and their time |
/// | `cache.hit` | questions that a cache could answer; without a time |
/// | `cache.miss` | questions that it could not; without a time |
/// | `lock` | the time it waited for the lock of an interpreter; without a number |
///
/// Any other name is ignored, and said so once on standard error. Outside of a request, nothing
/// happens: on a thread or in a task of the application's own, use [`Context`].
///
/// Operators see it beside the request while it runs, and summed by route. A worker that is reached
/// through its socket tells it in the head of the answer, in `Server-Timing`: what is reported
/// behind the head is lost then.
///
/// ```
/// # use std::time::Instant;
/// # fn ask_the_database() {}
/// let asked = Instant::now();
/// ask_the_database();
/// ostler_app::cost("db.query", 1, asked.elapsed());
/// ```
pub fn cost(name: &str, count: u64, took: Duration) {
    // Outside of a request there is nobody it could be told of.
    let _reported = CURRENT.try_with(|context| context.cost(name, count, took));
}

/// Answers a request on a connection in a task, and puts what was reported of it into the head.
pub(crate) async fn answer<B>(
    answer: impl Future<Output = http::Response<B>>,
) -> http::Response<B> {
    let context = Context::gathering();
    let mut response = context.scope(answer).await;
    context.write_to(response.headers_mut());
    response
}

impl Context {
    /// The request that is worked for. Outside of a request, one whose reports are dropped.
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or(Self(Place::Nowhere))
    }

    /// Reports what the request has cost: see [`cost`].
    pub fn cost(&self, name: &str, count: u64, took: Duration) {
        let Some(kind) = Kind::of(name) else { return kind::report_unknown(name) };
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match &self.0 {
            Place::Nowhere => {}
            Place::Row(taken) => taken.add_costs(&kind.amounts(count, took_us)),
            Place::Head(gathered) => gathered.add(&kind.amounts(count, took_us)),
        }
    }

    /// Reports go into the row of this request.
    pub(crate) fn of(taken: &Taken) -> Self {
        Self(Place::Row(taken.clone()))
    }

    /// Reports are gathered, for [`Context::write_to`].
    pub(crate) fn gathering() -> Self {
        Self(Place::Head(Arc::default()))
    }

    /// Runs what works for the request, on a thread.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// Runs what works for the request, in a task.
    pub(crate) fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), work)
    }

    /// Puts what was gathered into the head of the answer.
    pub(crate) fn write_to(&self, fields: &mut HeaderMap) {
        let Place::Head(gathered) = &self.0 else { return };
        let text = kind::server_timing(&gathered.costs());
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            fields.append(SERVER_TIMING, value);
        }
    }
}

impl Gathered {
    fn add(&self, amounts: &[(Cost, u64)]) {
        for &(cost, amount) in amounts {
            if let Some(sum) = self.0.get(cost as usize) {
                sum.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    fn costs(&self) -> Costs {
        let sum = |cost: Cost| self.0.get(cost as usize).map_or(0, |it| it.load(Ordering::Relaxed));
        Costs::read(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_micros(1_500);

    #[test]
    fn what_is_reported_anywhere_below_a_handler_is_about_its_request() {
        let context = Context::gathering();
        context.run(|| {
            deep_below();
            let elsewhere = Context::current();
            std::thread::spawn(move || {
                cost("db.query", 100, TOOK);
                elsewhere.cost("db.query", 2, TOOK);
            })
            .join()
            .unwrap();
        });
        cost("db.query", 100, TOOK);
        assert_eq!(field(&context).unwrap(), "db;dur=3.000;n=3");
    }

    #[test]
    fn a_task_reports_about_its_own_request_only() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, other) = (Context::gathering(), Context::gathering());
        let work = |count| async move {
            cost("db", count, Duration::ZERO);
            tokio::task::yield_now().await;
            cost("db", count, Duration::ZERO);
        };
        runtime.block_on(async { tokio::join!(one.scope(work(1)), other.scope(work(10))) });
        assert_eq!(field(&one).unwrap(), "db;dur=0.000;n=2");
        assert_eq!(field(&other).unwrap(), "db;dur=0.000;n=20");
    }

    #[test]
    fn where_nothing_was_reported_there_is_no_field() {
        let context = Context::gathering();
        context.run(|| cost("teapot", 1, TOOK));
        assert_eq!(field(&context), None);
    }

    fn deep_below() {
        cost("db.query", 1, TOOK);
    }

    fn field(context: &Context) -> Option<String> {
        let mut fields = HeaderMap::new();
        context.write_to(&mut fields);
        fields.get(SERVER_TIMING).map(|value| value.to_str().unwrap().to_owned())
    }
}
