//! The document of `?json` against the example that tools were written for.

use std::collections::BTreeMap;

use ostler_status::{
    Cache, Origin, OriginServer, Pool, Snapshot, Thread, ThreadState, UnixTime, Worker,
    WorkerState, json,
};
use serde_json::Value;

use crate::{costly, sample};

/// The documented example, which newer documents may add keys to. Where a number, a text or `null` may stand, any of them is taken.
const EXAMPLE: &str = r#"{"schema_version":1,
 "server":   {"name":"ostler","version":"0.1.0","pid":1,"generation":1,"started":"2026-01-01T00:00:00Z","uptime_s":1.5,"draining":false,
              "config_version":1,"config_loaded":"2026-01-01T00:00:00Z","config_error":null,"proxy":{"pid":2,"rss_bytes":0,"cpu_s":0.0,"fds":0,"fds_max":1024,"spool_bytes":0}},
 "connections":{"open":0,"reading":0,"writing":0,"idle":0,"upgraded":0,"max":10000,"accepted_total":0,"closed_total":{"client":0,"idle-timeout":0,"max-requests":0,"pressure":0,"drain":0,"error":0}},
 "requests": {"total":0,"in_flight":0,"bytes_received_total":0,"bytes_sent_total":0,"by_status":{"1xx":0,"2xx":0,"3xx":0,"4xx":0,"5xx":0},"by_reason":{"queue-full":0}},
 "pools":    {"web":{"state":"ok","degraded_since":null,"processes":2,"threads":15,"concurrency":15,"capacity":30,"ready":2,"busy":0,"stuck":0,
                     "queued":0,"queue_length":100,"queue_oldest_ms":0,"full_since":null,"window_s":60,
                     "queue_wait_ms":{"p50":0,"p99":0,"max":0},"run_ms":{"p50":0,"p99":0,"max":0},
                     "shed_total":{"queue-full":0,"queue-timeout":0,"predicted-wait":0,"pool-not-ready":0},"blame":[],"left_total":0,
                     "recycles_total":{"exit":0,"max-requests":0},"recycles_pending":[],"retry_in_ms":null,"last_exit":null,"post_mortems":[],
                     "workers":[{"slot":0,"generation":1,"pid":100,"state":"ready","age_s":1.0,"rss_bytes":0,"cpu_s":0.0,"requests_total":0,
                                 "threads":[{"thread":0,"tid":101,"state":"_","stuck":false,"requests_total":0,"cpu_s":0.0,
                                             "request":null}]}]}},
 "origins":  {"cdn":{"servers":[{"url":"https://…","healthy":true,"since":"…","reason":null,"in_flight":0,"requests_total":0,"errors_total":0}],"cache":{"bytes":0,"hits_total":0,"misses_total":0}}}}"#;

#[test]
fn the_example_is_what_the_same_state_gives() {
    let mut expected: Value = serde_json::from_str(EXAMPLE).unwrap();
    expected["origins"]["cdn"]["servers"][0]["since"] = "2026-01-01T00:00:00Z".into();
    let actual: Value = serde_json::from_str(&json(&example())).unwrap();
    contains("", &actual, &expected);
}

/// Checks that all of one document stands in another.
fn contains(at: &str, actual: &Value, expected: &Value) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            for (key, value) in expected {
                contains(&format!("{at}/{key}"), &actual[key], value);
            }
        }
        (Value::Array(actual), Value::Array(expected)) => {
            assert_eq!(actual.len(), expected.len(), "{at}");
            for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
                contains(&format!("{at}/{index}"), actual, expected);
            }
        }
        (actual, expected) => assert_eq!(actual, expected, "{at}"),
    }
}

#[test]
fn whole_percentiles_have_no_fraction_and_others_keep_theirs() {
    let text = json(&sample::snapshot());
    assert!(text.contains(r#""queue_wait_ms":{"p50":0,"p99":940,"max":1250}"#), "{text}");
    assert!(text.contains(r#""run_ms":{"p50":0.42,"p99":312,"max":83400}"#), "{text}");
}

#[test]
fn a_busy_row_has_its_request_and_what_is_unknown_is_null() {
    let document: Value = serde_json::from_str(&json(&sample::snapshot())).unwrap();
    let worker = &document["pools"]["web"]["workers"][1];
    let row = &worker["threads"][2];
    assert_eq!(
        (&row["state"], &row["tid"], &row["stuck"]),
        (&"W".into(), &303.into(), &true.into())
    );
    let keys: Vec<&String> = row["request"].as_object().unwrap().keys().collect();
    let expected = [
        "client",
        "costs",
        "cpu_ms",
        "host",
        "id",
        "method",
        "protocol",
        "queued_ms",
        "route",
        "running_ms",
        "site",
        "target",
    ];
    let mut keys = keys;
    keys.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(row["request"]["target"], "/report/<all>?from=1970&to=2026");

    let draining = &document["pools"]["web"]["workers"][0];
    assert_eq!(draining["rss_bytes"], Value::Null);
    assert_eq!(document["pools"]["api"]["workers"][0]["threads"][5]["tid"], Value::Null);
    assert_eq!(document["origins"]["files"]["cache"], Value::Null);
}

#[test]
fn idle_rows_of_a_service_past_the_64th_are_left_out() {
    let document: Value = serde_json::from_str(&json(&sample::snapshot())).unwrap();
    let rows = document["pools"]["api"]["workers"][0]["threads"].as_array().unwrap();
    let numbers: Vec<u64> = rows.iter().map(|row| row["thread"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (0..64).chain([68]).collect();
    assert_eq!(numbers, expected);
}

/// The schema in `docs/` with nothing allowed beside what it describes.
fn strict_schema() -> Value {
    let mut schema =
        serde_json::from_str(include_str!("../../../docs/status.schema.json")).unwrap();
    forbid_more(&mut schema);
    schema
}

/// Forbids keys that are not described. Readers have to take those; this test has not.
fn forbid_more(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.contains_key("properties") {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object.values_mut().for_each(forbid_more);
    }
}

#[test]
fn every_key_and_value_is_described_by_the_schema() {
    let validator = jsonschema::draft202012::new(&strict_schema()).unwrap();
    for snapshot in [Snapshot::default(), example(), sample::snapshot(), costly::snapshot()] {
        let document: Value = serde_json::from_str(&json(&snapshot)).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let mut document: Value = serde_json::from_str(&json(&sample::snapshot())).unwrap();
    document["pools"]["web"]["workers"][0]["nowhere_described"] = 1.into();
    assert!(!validator.is_valid(&document));
}

/// The state that the example tells of.
fn example() -> Snapshot {
    let start = UnixTime::from_ms(1_767_225_600_000);
    let mut snapshot = Snapshot::default();
    let server = &mut snapshot.server;
    server.version = "0.1.0".into();
    server.pid = 1;
    (server.started, server.config_loaded, server.uptime_s) = (start, start, 1.5);
    server.proxy.pid = 2;
    (server.proxy.rss_bytes, server.proxy.cpu_s) = (Some(0), Some(0.0));
    (server.proxy.fds, server.proxy.fds_max) = (Some(0), Some(1_024));
    snapshot.connections.max = 10_000;
    snapshot.requests.by_reason.insert("queue-full".to_owned(), 0);
    snapshot.pools.insert("web".to_owned(), pool());
    let server = OriginServer {
        url: "https://…".to_owned(),
        healthy: true,
        since: Some(start),
        ..OriginServer::default()
    };
    let origin = Origin { servers: vec![server], cache: Some(Cache::default()) };
    snapshot.origins.insert("cdn".to_owned(), origin);
    snapshot
}

fn pool() -> Pool {
    let row = Thread {
        tid: Some(101),
        state: ThreadState::of(WorkerState::Ready, false),
        cpu_s: Some(0.0),
        ..Thread::default()
    };
    let worker = Worker {
        generation: 1,
        pid: 100,
        state: WorkerState::Ready,
        age_s: 1.0,
        rss_bytes: Some(0),
        cpu_s: Some(0.0),
        threads: vec![row],
        ..Worker::default()
    };
    let recycles = [("exit".to_owned(), 0), ("max-requests".to_owned(), 0)];
    Pool {
        processes: 2,
        threads: 15,
        concurrency: 15,
        capacity: 30,
        ready: 2,
        queue_length: 100,
        window_s: 60,
        recycles_total: BTreeMap::from(recycles),
        workers: vec![worker],
        ..Pool::default()
    }
}
