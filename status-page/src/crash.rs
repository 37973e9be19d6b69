//! What a worker that crashed took along, in a sentence.

use crate::snapshot::{HeldRequest, LastExit, Moment, Pool};

/// Requests that are named.
const NAMED: usize = 3;

/// Characters of a target that are shown.
const TARGET: usize = 60;

/// As in ` It took 2 requests along: GET /report, POST /upload.`; empty if it took none.
pub(crate) fn taken_along(pool: &Pool, exit: &LastExit) -> String {
    let record = pool.post_mortems.iter().rev().find(|record| {
        record.moment == Moment::Crashed
            && (record.slot, record.generation) == (exit.slot, exit.generation)
    });
    let Some(record) = record.filter(|record| !record.requests.is_empty()) else {
        return String::new();
    };
    let known = record.requests.len() as u64;
    let all = known.saturating_add(record.requests_left_out.into());
    let named: Vec<String> = record.requests.iter().take(NAMED).map(name).collect();
    let requests = if all == 1 { "1 request".to_owned() } else { format!("{all} requests") };
    let more = match all.saturating_sub(named.len() as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(" It took {requests} along: {}{more}.", named.join(", "))
}

fn name(request: &HeldRequest) -> String {
    let target = &request.target;
    match target.char_indices().nth(TARGET) {
        Some((end, _)) => format!("{} {}...", request.method, target.get(..end).unwrap_or(target)),
        None => format!("{} {target}", request.method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::PostMortem;

    #[test]
    fn up_to_three_requests_are_named_and_the_others_counted() {
        check(&[], 0, "");
        check(&["/a"], 0, " It took 1 request along: GET /a.");
        check(&["/a", "/b", "/c"], 0, " It took 3 requests along: GET /a, GET /b, GET /c.");
        let some = ["/a", "/b", "/c", "/d"];
        check(&some, 9, " It took 13 requests along: GET /a, GET /b, GET /c and 10 more.");
        let long = "/\u{e4}".repeat(60);
        let cut = "/\u{e4}".repeat(30);
        check(&[&long], 0, &format!(" It took 1 request along: GET {cut}...."));
    }

    #[test]
    fn records_of_others_and_of_other_moments_are_not_told() {
        let record = record(&["/a"], 0);
        let others = [
            PostMortem { generation: 6, ..record.clone() },
            PostMortem { moment: Moment::Stuck, ..record },
        ];
        let pool = Pool { post_mortems: others.into(), ..Pool::default() };
        assert_eq!(taken_along(&pool, &exit()), "");
    }

    #[track_caller]
    fn check(targets: &[&str], left_out: u32, expected: &str) {
        let pool = Pool { post_mortems: vec![record(targets, left_out)], ..Pool::default() };
        assert_eq!(taken_along(&pool, &exit()), expected);
    }

    fn exit() -> LastExit {
        LastExit { slot: 1, generation: 7, ..LastExit::default() }
    }

    fn record(targets: &[&str], requests_left_out: u32) -> PostMortem {
        let requests = targets.iter().map(|target| {
            let (method, target) = ("GET".to_owned(), (*target).to_owned());
            HeldRequest { method, target, ..HeldRequest::default() }
        });
        let (moment, slot, generation) = (Moment::Crashed, 1, 7);
        let requests = requests.collect();
        PostMortem { moment, slot, generation, requests, requests_left_out, ..<_>::default() }
    }
}
