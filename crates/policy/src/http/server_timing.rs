//! What an answer says that it cost: `Server-Timing` (W3C Server Timing, 2023).
//!
//! A list of metrics, each a name with parameters: `db;dur=53.2;n=20, cache;desc=hit`. Those with
//! a name that says what was asked are counted; all others, and what cannot be read, count as
//! nothing. The field itself is passed on as it is, whatever stands in it.
//!
//! ```text
//! db, db.…, sql…            database queries: n of them, else one; dur in milliseconds
//! http…, outbound…          calls to other services, the same way
//! cache;desc=hit, cache.hit a question that the cache could answer: n of them, else one
//! cache;desc=miss, cache.miss  … that it could not
//! ```

/// Metrics of one field that are read. Who measures more than this reads his own pages.
const MAX_METRICS: usize = 128;
/// The largest number that is believed, of queries or of microseconds: eleven days of them.
const MAX_NUMBER: u64 = 1_000_000_000_000;

/// The costs that an answer reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Database queries.
    pub db_queries: u64,
    /// Time they took, in microseconds.
    pub db_us: u64,
    /// Calls to other services.
    pub outbound_calls: u64,
    /// Time they took, in microseconds.
    pub outbound_us: u64,
    /// Questions that a cache could answer.
    pub cache_hits: u64,
    /// Questions that it could not.
    pub cache_misses: u64,
}

/// One metric of the list, as far as it matters.
#[derive(Clone, Copy, Debug, Default)]
struct Metric<'b> {
    name: &'b [u8],
    description: &'b [u8],
    us: Option<u64>,
    count: Option<u64>,
}

impl Reported {
    /// Adds what stands in one field.
    pub fn add_field(&mut self, value: &[u8]) {
        for metric in split(value, b',').take(MAX_METRICS) {
            self.add(Metric::read(metric));
        }
    }

    fn add(&mut self, metric: Metric<'_>) {
        let (count, us) = (metric.count.unwrap_or(1), metric.us.unwrap_or(0));
        let starts = |start: &[u8]| {
            metric.name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
        };
        let is = |name: &[u8]| metric.name.eq_ignore_ascii_case(name);
        let says = |word: &[u8]| is(b"cache") && metric.description.eq_ignore_ascii_case(word);
        if is(b"db") || starts(b"db.") || starts(b"sql") {
            add(&mut self.db_queries, count);
            add(&mut self.db_us, us);
        } else if starts(b"http") || starts(b"outbound") {
            add(&mut self.outbound_calls, count);
            add(&mut self.outbound_us, us);
        } else if is(b"cache.hit") || says(b"hit") {
            add(&mut self.cache_hits, count);
        } else if is(b"cache.miss") || says(b"miss") {
            add(&mut self.cache_misses, count);
        }
    }
}

impl<'b> Metric<'b> {
    /// Of a parameter that stands there more than once, the first counts.
    fn read(text: &'b [u8]) -> Self {
        let mut parts = split(text, b';');
        let mut metric = Self { name: parts.next().unwrap_or_default(), ..Self::default() };
        for part in parts {
            let Some(at) = memchr::memchr(b'=', part) else { continue };
            let name = part.get(..at).unwrap_or_default().trim_ascii();
            let value = part.get(at.saturating_add(1)..).unwrap_or_default().trim_ascii();
            let value = unquoted(value);
            if name.eq_ignore_ascii_case(b"dur") {
                metric.us = metric.us.or_else(|| Some(microseconds(value)));
            } else if name.eq_ignore_ascii_case(b"n") {
                metric.count = metric.count.or_else(|| whole(value));
            } else if name.eq_ignore_ascii_case(b"desc") && metric.description.is_empty() {
                metric.description = value;
            }
        }
        metric
    }
}

fn add(sum: &mut u64, number: u64) {
    *sum = sum.saturating_add(number).min(MAX_NUMBER);
}

/// The parts of a list between separators that stand outside of quotes (RFC 9110 §5.6.4).
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(move |&byte| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match byte {
            _ if was_escaped => {}
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => return !is_quoted && byte == separator,
        }
        false
    });
    parts.map(<[u8]>::trim_ascii)
}

/// What stands between quotes. Escapes within are left: no word that counts has any.
fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

/// Milliseconds with or without a fraction, as microseconds; 0 for what is not a number.
fn microseconds(text: &[u8]) -> u64 {
    let point = memchr::memchr(b'.', text).unwrap_or(text.len());
    let (ms, fraction) = text.split_at_checked(point).unwrap_or_default();
    let fraction = fraction.get(1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |byte| u64::from(byte.saturating_sub(b'0')));
    let hundreds = digit(0).saturating_mul(100);
    let rest = hundreds.saturating_add(digit(1).saturating_mul(10)).saturating_add(digit(2));
    let ms = if ms.is_empty() { Some(0) } else { whole(ms) };
    ms.map_or(0, |ms| ms.saturating_mul(1_000).saturating_add(rest).min(MAX_NUMBER))
}

/// Digits alone, and not more of them than fit; a larger number is cut.
fn whole(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().fold(0_u64, |number, byte| {
        let digit = u64::from(byte.saturating_sub(b'0'));
        number.saturating_mul(10).saturating_add(digit)
    });
    Some(number.min(MAX_NUMBER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Queries and their time, calls and their time, hits and misses.
    type Row = [u64; 6];

    #[test]
    fn what_is_named_so_is_counted_and_nothing_else() {
        check("", [0; 6]);
        check("db;dur=53.2", [1, 53_200, 0, 0, 0, 0]);
        check("db;dur=53.2;n=20", [20, 53_200, 0, 0, 0, 0]);
        check("db;n=20;dur=53.25999", [20, 53_259, 0, 0, 0, 0]);
        check("DB ; DUR = 1 ; N = 2", [2, 1_000, 0, 0, 0, 0]);
        check("db.users;dur=1, db.orders;dur=2;n=3", [4, 3_000, 0, 0, 0, 0]);
        check("sql;dur=.5, SQLPanel_sql_time;dur=2.", [2, 2_500, 0, 0, 0, 0]);
        check("http.users;dur=7, outbound;n=2;dur=1", [0, 0, 3, 8_000, 0, 0]);
        check("cache;desc=hit, cache;desc=\"miss\";dur=1, cache", [0, 0, 0, 0, 1, 1]);
        check("cache.hit;n=3, cache.miss;n=0", [0, 0, 0, 0, 3, 0]);
        check("total;dur=9, dbx;dur=9, render, cachex;desc=hit", [0; 6]);
    }

    #[test]
    fn the_first_of_repeated_parameters_counts() {
        check("db;dur=1;dur=9;n=2;n=9", [2, 1_000, 0, 0, 0, 0]);
        check("cache;desc=hit;desc=miss", [0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn quotes_hide_separators_and_their_ends_may_be_escaped() {
        check(r#"db;desc="a, db;n=9";n=2"#, [2, 0, 0, 0, 0, 0]);
        check(r#"db;desc="a\", db;n=9";n=2"#, [2, 0, 0, 0, 0, 0]);
        check(r#"x;desc="never ends, db;n=9"#, [0; 6]);
        check(r#"db;dur="1.5";n="2""#, [2, 1_500, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_number_is_nothing_and_what_is_too_large_is_cut() {
        check("db;dur=-1;n=-1", [1, 0, 0, 0, 0, 0]);
        check("db;dur=1e3;n=0x9", [1, 0, 0, 0, 0, 0]);
        check("db;dur=1.2.3;n=", [1, 0, 0, 0, 0, 0]);
        check("db;dur=NaN;n=+2", [1, 0, 0, 0, 0, 0]);
        check("db;n=99999999999999999999999", [MAX_NUMBER, 0, 0, 0, 0, 0]);
        check("db;dur=99999999999999999999999", [1, MAX_NUMBER, 0, 0, 0, 0]);
        let many = "db,".repeat(MAX_METRICS * 2);
        check(&many, [MAX_METRICS as u64, 0, 0, 0, 0, 0]);
    }

    #[track_caller]
    fn check(field: &str, expected: Row) {
        let mut found = Reported::default();
        found.add_field(field.as_bytes());
        assert_eq!(row(found), expected, "{field}");
    }

    fn row(found: Reported) -> Row {
        let Reported { db_queries, db_us, outbound_calls, outbound_us, cache_hits, cache_misses } =
            found;
        [db_queries, db_us, outbound_calls, outbound_us, cache_hits, cache_misses]
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic_or_count_beyond_its_limits(
            fields in proptest::collection::vec(r#"(db|cache|http|sql|[;,="\\ .0-9n]|desc|dur){0,40}"#, 0..8),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut found = Reported::default();
            for field in fields.iter().map(String::as_bytes).chain([&noise[..]]) {
                found.add_field(field);
            }
            prop_assert!(row(found).iter().all(|&number| number <= MAX_NUMBER));
        }

        #[test]
        fn what_is_written_is_what_is_counted(n in 0_u64..100_000, us in 0_u64..10_000_000_000) {
            let field = format!("app;dur=3, db;n={n};dur={}.{:03};desc=\"x,y\"", us / 1_000, us % 1_000);
            let mut found = Reported::default();
            found.add_field(field.as_bytes());
            prop_assert_eq!((found.db_queries, found.db_us), (n, us));
        }
    }
}
