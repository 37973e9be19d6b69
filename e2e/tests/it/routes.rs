//! What each route costs: threads, errors, queries; and that nothing of it is lost with a proxy.

use ostler_e2e::stack::{event, number};
use ostler_e2e::{Plan, Stack, process};
use rustix::process::Signal;
use serde_json::Value;

use crate::ask;

/// A route that sleeps, one that says which status it answers with, and all others.
const ROUTES: &str = "[[site]]
    route = [
        { path = '/', pool = 'probe' },
        { path = '/sleep/', pool = 'probe' },
        { path = '/status/', pool = 'probe' },
        { path = '=/moved', redirect = 'https://x.example/' },
    ]";

/// Says in the heads of its answers what they cost.
const REPORTS: &str = include_str!("routes/reports.py");

const REPORTING: &str = "[pool.reporting]
    command = ['python3', '${STACK_DIR}/reports.py']
    ready = 'http'
    [[site]]
    route = [{ path = '/', pool = 'reporting' }, { path = '/many', pool = 'reporting' }]";

/// The route of this name.
#[track_caller]
fn route<'s>(status: &'s Value, name: &str) -> &'s Value {
    let routes = status["routes"].as_array().unwrap();
    let found = routes.iter().find(|route| route["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {routes:#?}"))
}

fn is_settled(status: &Value, requests: u64) -> bool {
    let all = status["requests"]["total"] == requests && status["requests"]["in_flight"] == 0;
    let pools = status["pools"].as_object().unwrap();
    all && pools.values().all(|pool| pool["busy"] == 0)
}

fn seconds(route: &Value) -> f64 {
    route["thread_s_total"].as_f64().unwrap()
}

#[tokio::test]
async fn routes_pay_for_the_threads_that_they_hold() {
    let stack = Stack::start(ROUTES).await;
    let mut client = stack.connect().await;
    for path in ["/sleep/300", "/", "/sleep/300", "/a", "/moved", "/nowhere/../.."] {
        client.get(path).await;
    }
    let status = stack.until(|status| is_settled(status, 6)).await;
    let names: Vec<&Value> =
        status["routes"].as_array().unwrap().iter().map(|route| &route["name"]).collect();
    assert_eq!(names, ["/", "/sleep/", "/status/", "=/moved"], "as configured");

    let slow = route(&status, "/sleep/");
    assert!((0.6..0.9).contains(&seconds(slow)), "{slow:#}");
    assert!(0.9 < slow["window"]["thread_share"].as_f64().unwrap(), "{slow:#}");
    assert_eq!((&slow["requests_total"], &slow["window"]["requests"]), (&2.into(), &2.into()));
    assert_eq!((&slow["pool"], &slow["busy"]), (&"probe".into(), &0.into()));
    // Both between 250 and 500 ms, and neither waited.
    assert_eq!(
        (&slow["run"]["counts"][9], &slow["queue_wait"]["counts"][0]),
        (&2.into(), &2.into())
    );
    assert!(600.0 <= slow["run"]["sum_ms"].as_f64().unwrap(), "{slow:#}");

    let (fast, moved) = (route(&status, "/"), route(&status, "=/moved"));
    assert!(seconds(fast) < 0.1 && fast["requests_total"] == 2, "{fast:#}");
    assert_eq!((&moved["requests_total"], &moved["pool"]), (&1.into(), &Value::Null));
    assert!(0 < moved["bytes_sent_total"].as_u64().unwrap(), "{moved:#}");
    let pool = &status["pools"]["probe"];
    let counted = |histogram: &str| -> u64 {
        pool[histogram]["counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum()
    };
    assert_eq!((counted("run"), counted("queue_wait")), (4, 4), "{pool:#}");
    assert_eq!(status["server"]["query_budget"], 10);
}

#[tokio::test]
async fn a_running_request_is_paid_for_while_it_runs() {
    let stack = Stack::start(ROUTES).await;
    let mut held = ask(&stack, "/sleep/900").await;
    let status = stack.until(|status| 0.2 < seconds(route(status, "/sleep/"))).await;
    assert_eq!(route(&status, "/sleep/")["busy"], 1);
    assert_eq!(route(&status, "/sleep/")["requests_total"], 0);
    let rows = status["pools"]["probe"]["workers"][0]["threads"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["request"]["route"] == "/sleep/"), "{rows:#?}");
    assert_eq!(held.response().await.status, 200);
    let status = stack.until(|status| is_settled(status, 1)).await;
    let sleep = route(&status, "/sleep/");
    assert!((0.9..1.2).contains(&seconds(sleep)) && sleep["busy"] == 0, "{sleep:#}");
}

#[tokio::test]
async fn errors_and_what_is_shed_are_counted_by_route() {
    let stack = Plan::probe()
        .with(ROUTES)
        .with("pool.probe = { threads = 1, queue-length = 1 }")
        .start()
        .await;
    let mut client = stack.connect().await;
    assert_eq!(client.get("/status/500").await.status, 500);
    assert_eq!(client.get("/status/404").await.status, 404);
    stack.until(|status| is_settled(status, 2)).await;
    let status = stack.status().await;
    assert_eq!(status["pools"]["probe"]["queue_full_since"], Value::Null);

    let mut held = ask(&stack, "/sleep/700").await;
    stack.until_pool("probe", |pool| pool["busy"] == 1).await;
    let mut queued = ask(&stack, "/a").await;
    let pools = stack.until_pool("probe", |pool| pool["queued"] == 1).await;
    assert!(pools["probe"]["queue_full_since"].is_string(), "{pools:#}");
    client.get("/b").await.expect_reason(503, "queue-full");
    assert_eq!((held.response().await.status, queued.response().await.status), (200, 200));

    let status = stack.until(|status| is_settled(status, 5)).await;
    let numbers = |name: &str| {
        let route = route(&status, name);
        ["requests_total", "errors_total", "shed_total"].map(|key| route[key].as_u64().unwrap())
    };
    assert_eq!(numbers("/status/"), [2, 1, 0]);
    assert_eq!(numbers("/"), [2, 1, 1]);
    assert_eq!(route(&status, "/")["window"]["shed"], 1);
    assert_eq!(numbers("/sleep/"), [1, 0, 0]);
    let waits = &route(&status, "/")["queue_wait"];
    assert!(100.0 < waits["sum_ms"].as_f64().unwrap(), "{waits}");
    assert_eq!(status["pools"]["probe"]["queue_full_since"], Value::Null);
}

#[tokio::test]
async fn what_routes_cost_is_kept_when_the_proxy_is_replaced_or_killed() {
    let stack = Stack::start(ROUTES).await;
    for path in ["/sleep/200", "/status/500", "/"] {
        stack.get(path).await;
    }
    let first = stack.until(|status| is_settled(status, 3)).await;

    let mut held = ask(&stack, "/sleep/5000").await;
    stack.until(|status| route(status, "/sleep/")["busy"] == 1).await;
    let before = stack.status().await;
    let pid = |status: &Value| status["server"]["proxy"]["pid"].clone();
    // The command waits for the proxy that is replaced, which waits for the request.
    let (recycled, after) = tokio::join!(
        stack.command(&["recycle", "--proxy"]),
        stack.until(|status| pid(status) != pid(&before))
    );
    assert_eq!(recycled.code, Some(0), "{recycled:?}\n{}", stack.log());
    goes_on(&before, &after);
    assert_eq!(route(&after, "/sleep/")["busy"], 1, "it is the other proxy that has the request");
    assert_eq!(route(&after, "/")["window"]["requests"], 0, "a minute of its own");
    assert_eq!(held.response().await.status, 200);
    let ended = stack
        .until(|status| {
            let route = route(status, "/sleep/");
            route["requests_total"] == 2 && route["busy"] == 0
        })
        .await;
    assert!((5.2..5.9).contains(&seconds(route(&ended, "/sleep/"))), "{ended:#}");
    goes_on(&after, &ended);

    let _lost = ask(&stack, "/sleep/700").await;
    let paid = seconds(route(&ended, "/sleep/"));
    let before = stack.until(|status| paid + 0.1 < seconds(route(status, "/sleep/"))).await;
    assert!(process::signal(number(&before["server"]["proxy"]["pid"]), Signal::KILL));
    stack
        .logged(|line| event(line) == Some("proxy_started") && line.contains("incarnation=3"))
        .await;
    assert_eq!(stack.get("/").await.status, 200);
    let after = stack.until(|status| route(status, "/")["requests_total"] == 2).await;
    goes_on(&before, &after);
    goes_on(&first, &after);
}

/// Fails the test where a total of a route is less than it was.
#[track_caller]
fn goes_on(before: &Value, after: &Value) {
    for old in before["routes"].as_array().unwrap() {
        let new = route(after, old["name"].as_str().unwrap());
        for (key, total) in old.as_object().unwrap() {
            let went_back = key.ends_with("_total") && new[key].as_f64() < total.as_f64();
            assert!(!went_back, "{key} went back: {old:#} {new:#}");
        }
        assert!(old["run"]["sum_ms"].as_f64() <= new["run"]["sum_ms"].as_f64());
    }
}

#[tokio::test]
async fn what_answers_report_is_counted_and_too_many_queries_are_told_of() {
    let plan = Plan::bare().file("reports.py", REPORTS).with(REPORTING);
    let mut stack = plan.start().await;
    let (many, few) = (stack.get("/many").await, stack.get("/few").await);
    let passed_on = "app;dur=9, db;n=23;dur=46.5, cache;desc=hit, cache.miss;n=2";
    assert_eq!(many.field("server-timing"), Some(passed_on));
    assert_eq!((few.status, stack.get("/wrong").await.status), (200, 200));
    assert_eq!(stack.get("/many").await.status, 200);
    let status = stack.until(|status| is_settled(status, 4)).await;

    let costs = |status: &Value, name: &str| {
        let costs = &route(status, name)["costs"];
        let counts = ["db_queries", "outbound_calls", "cache_hits", "cache_misses"];
        (counts.map(|key| costs[key].as_u64().unwrap()), costs["db_ms"].as_f64().unwrap())
    };
    assert_eq!(costs(&status, "/many"), ([46, 0, 2, 4], 93.0));
    // A query that is not numbered is one.
    assert_eq!(costs(&status, "/"), ([4, 1, 0, 0], 1.5));
    let many = route(&status, "/many");
    assert_eq!(
        (&many["over_budget_total"], &many["window"]["over_budget"]),
        (&2.into(), &2.into())
    );
    assert_eq!(many["window"]["costs"]["db_queries"], 46);
    assert_eq!(route(&status, "/")["over_budget_total"], 0);
    let over = &many["over_budget"];
    assert_eq!((&over["target"], &over["method"]), (&"/many".into(), &"GET".into()));
    assert_eq!((&over["queries"], &over["db_ms"]), (&23.into(), &46.5.into()));
    assert!(over["at"].is_string(), "{over}");

    let line = stack.until_logged_access("route=\"/many\"").await;
    assert!(line.contains(" db=23/47ms "), "{line}");
    let told = stack.events("too_many_queries");
    assert_eq!(told.len(), 1, "once a minute: {told:?}");
    assert!(told[0].contains("queries=23 budget=10"), "{told:?}");
    let id = over["id"].as_str().unwrap();
    let line = stack.until_logged_access(&format!("id={id}")).await;
    assert!(line.contains("route=\"/many\""), "{line}");

    stack.reload("status.query-budget = 23").await;
    stack.get("/many").await;
    let status = stack.until(|status| is_settled(status, 5)).await;
    assert_eq!((&status["server"]["query_budget"], costs(&status, "/many").0[0]), (&23.into(), 69));
    assert_eq!(route(&status, "/many")["over_budget_total"], 2);
}

#[tokio::test]
async fn processor_time_and_queries_of_handlers_are_charged_to_their_routes() {
    let routes = "[[site]]\nroute = [{path='/', pool='probe'}, {path='/cost/', pool='probe'}]";
    let stack = Plan::probe().with(routes).start().await;
    for path in ["/burn/50", "/burn/50", "/cost/20/0", "/cost/3/0"] {
        assert_eq!(stack.get(path).await.status, 200);
    }
    let status = stack.until(|status| is_settled(status, 4)).await;
    let (burning, asking) = (route(&status, "/"), route(&status, "/cost/"));
    let cpu = |route: &Value| route["cpu_s_total"].as_f64().unwrap();
    assert!((0.1..0.3).contains(&cpu(burning)) && cpu(asking) < 0.05, "{burning:#} {asking:#}");
    assert_eq!(
        (&burning["costs"]["db_queries"], &burning["over_budget"]),
        (&0.into(), &Value::Null)
    );
    let costs = &asking["costs"];
    assert_eq!((&costs["db_queries"], &costs["db_ms"]), (&23.into(), &23.0.into()), "{costs}");
    assert_eq!(asking["over_budget_total"], 1);
    let over = &asking["over_budget"];
    assert_eq!((&over["target"], &over["queries"]), (&"/cost/20/0".into(), &20.into()), "{over}");
    let line = stack.until_logged_access("/cost/20/0").await;
    assert!(line.contains(" db=20/20ms ") && line.contains("route=\"/cost/\""), "{line}");
}

#[tokio::test]
async fn what_the_head_of_an_answer_reports_is_shown_while_its_body_is_on_its_way() {
    let stack = Plan::bare().file("reports.py", REPORTS).with(REPORTING).start().await;
    let mut slow = ask(&stack, "/slow").await;
    let shown = |row: &Value| row["request"]["costs"]["db_queries"] == 4;
    stack
        .until_pool("reporting", |pool| {
            let workers = pool["workers"].as_array().unwrap().iter();
            let mut rows = workers.flat_map(|worker| worker["threads"].as_array().unwrap());
            rows.any(shown)
        })
        .await;
    assert_eq!(slow.response().await.text(), "ok");
}

#[tokio::test]
async fn ten_thousand_routes_take_a_few_descriptors() {
    let routes: Vec<String> =
        (0..10_000).map(|n| format!("{{ path = '/r{n}', pool = 'probe' }}")).collect();
    let plan = Plan::probe().with(&format!("[[site]]\nroute = [{}]", routes.join(", ")));
    let stack = plan.start().await;
    for path in ["/r0", "/r7/a", "/r9999", "/r9999"] {
        assert_eq!(stack.get(path).await.status, 200);
    }
    let status = stack.until(|status| is_settled(status, 4)).await;
    let routes = status["routes"].as_array().unwrap();
    assert_eq!((routes.len(), &routes[500]["name"]), (501, &"(others)".into()));
    let counts = ["/r0", "/r7", "/r9999"].map(|name| &route(&status, name)["requests_total"]);
    assert_eq!(counts, [&Value::from(1), &1.into(), &2.into()], "the busiest are told of");
    let sum: u64 = routes.iter().map(|route| route["requests_total"].as_u64().unwrap()).sum();
    assert_eq!(sum, 4);
    let proxy = number(&status["server"]["proxy"]["pid"]);
    for pid in [proxy, stack.pid()] {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert!(open < 120, "{open} descriptors of {pid}");
    }
}
