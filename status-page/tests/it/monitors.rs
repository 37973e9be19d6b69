//! Readers that behave as the monitors do which these texts are for.

use std::collections::{BTreeMap, BTreeSet};

use ostler_status::{auto, prometheus};

use crate::{costly, sample};

/// Every line of httpd 2.4.63 with the event MPM and extended status, in its order.
const HTTPD_KEYS: [&str; 36] = [
    "ServerVersion",
    "ServerMPM",
    "Server Built",
    "CurrentTime",
    "RestartTime",
    "ParentServerConfigGeneration",
    "ParentServerMPMGeneration",
    "ServerUptimeSeconds",
    "ServerUptime",
    "Load1",
    "Load5",
    "Load15",
    "Total Accesses",
    "Total kBytes",
    "Total Duration",
    "CPUUser",
    "CPUSystem",
    "CPUChildrenUser",
    "CPUChildrenSystem",
    "CPULoad",
    "Uptime",
    "ReqPerSec",
    "BytesPerSec",
    "BytesPerReq",
    "DurationPerReq",
    "BusyWorkers",
    "GracefulWorkers",
    "IdleWorkers",
    "Processes",
    "Stopping",
    "ConnsTotal",
    "ConnsAsyncWaitIO",
    "ConnsAsyncWriting",
    "ConnsAsyncKeepAlive",
    "ConnsAsyncClosing",
    "Scoreboard",
];

#[test]
fn the_lines_of_httpd_come_first_and_in_its_order() {
    let text = auto(&sample::snapshot());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("www.example.com"));
    let keys: Vec<&str> = lines.map(|line| line.split_once(':').unwrap().0).collect();
    assert_eq!(keys[..36], HTTPD_KEYS);
    let own = &keys[36..];
    assert!(!own.is_empty() && own.iter().all(|key| key.starts_with("Ostler")), "{own:?}");
}

#[test]
fn lines_that_need_a_divisor_are_left_out_without_one() {
    let mut snapshot = sample::snapshot();
    snapshot.server.uptime_s = 0.5;
    snapshot.requests.total = 0;
    let text = auto(&snapshot);
    for key in ["CPULoad", "ReqPerSec", "BytesPerSec", "BytesPerReq", "DurationPerReq"] {
        assert!(!text.contains(key), "{key}");
    }
    assert!(text.contains("\nServerUptime:\n"), "{text}");

    let mut snapshot = sample::snapshot();
    snapshot.machine = ostler_status::Machine::default();
    assert!(!auto(&snapshot).contains("CPULoad"));
}

/// What Prometheus's `apache_exporter`, Telegraf, Netdata and Datadog take from the text.
#[test]
fn monitors_read_their_numbers() {
    let text = auto(&sample::snapshot());
    let values: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once(": ")).collect();

    let version = values["ServerVersion"].split('/').nth(1).unwrap().split(' ').next().unwrap();
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert_eq!(parts, [2, 4, 63]);

    let texts = ["ServerVersion", "ServerMPM", "Server Built", "CurrentTime", "RestartTime"];
    for key in HTTPD_KEYS {
        if !texts.contains(&key) && !["ServerUptime", "Scoreboard"].contains(&key) {
            assert!(values[key].parse::<f64>().is_ok(), "{key}: {}", values[key]);
        }
    }
    let letters = values["Scoreboard"];
    assert!(letters.chars().all(|letter| "_SWG.".contains(letter)), "{letters}");
    let count = |letter: char| letters.matches(letter).count().to_string();
    assert_eq!(values["BusyWorkers"], count('W'));
    assert_eq!(values["GracefulWorkers"], count('G'));
    assert_eq!(values["IdleWorkers"], count('_'));
    // api: 70 rows, 2 of a worker that starts, 70 of an empty slot; web: 3 of each worker.
    assert_eq!(letters.len(), 70 + 2 + 70 + 9);
    assert_eq!(values["Processes"], "5");
    assert_eq!(values["Stopping"], "1");
}

#[test]
fn prometheus_reads_every_line() {
    let text = prometheus(&costly::snapshot());
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(types.insert(name, kind), None, "{name} twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.contains(' '), "{line}");
        } else {
            let (series_name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            let name = series_name.split('{').next().unwrap();
            let mut parts = ["_bucket", "_sum", "_count"].iter();
            let whole = parts.find_map(|part| name.strip_suffix(part));
            let of_histogram = whole.is_some_and(|whole| types.get(whole) == Some(&"histogram"));
            assert!(of_histogram || types.contains_key(name), "{name} has no type");
            assert!(series.insert(series_name), "{series_name} twice");
        }
    }
    for (name, kind) in types {
        assert!(name.starts_with("ostler_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
    }
}

#[test]
fn prometheus_gets_the_numbers_of_the_snapshot() {
    let text = prometheus(&sample::snapshot());
    for line in [
        "ostler_connections_open 120",
        "ostler_requests_total{status=\"2xx\"} 1200000",
        "ostler_responses_by_reason_total{reason=\"queue-full\"} 400",
        "ostler_pool_capacity{pool=\"web\"} 6",
        "ostler_pool_busy{pool=\"web\"} 6",
        "ostler_pool_full{pool=\"web\"} 1",
        "ostler_pool_full{pool=\"api\"} 0",
        "ostler_pool_queued{pool=\"web\"} 5",
        "ostler_pool_shed_total{pool=\"web\",reason=\"queue-timeout\"} 12",
        "ostler_pool_recycles_total{pool=\"web\",reason=\"config\"} 2",
        "ostler_pool_run_quantile_seconds{percentile=\"100\",pool=\"web\"} 83.4",
        "ostler_pool_saturation{pool=\"web\"} 1",
        "ostler_pool_queue_saturation{pool=\"web\"} 1",
        "ostler_pool_full_since_time_seconds{pool=\"web\"} 1767237900",
        "ostler_proxy_starts_total 1",
        "ostler_worker_up{pool=\"api\",slot=\"0\"} 1",
        "ostler_worker_up{pool=\"api\",slot=\"1\"} 0",
        "ostler_worker_up{pool=\"api\",slot=\"2\"} 0",
        "ostler_worker_generation{pool=\"web\",slot=\"0\"} 2",
        "ostler_origin_up{origin=\"cdn\",server=\"https://d222.cloudfront.net:443\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

#[test]
fn prometheus_gets_histograms_in_seconds_that_add_up() {
    let text = prometheus(&costly::snapshot());
    let run = "ostler_route_run_seconds";
    let labels = "pool=\"web\",route=\"www.example.com/\"";
    for line in [
        "# TYPE ostler_pool_queue_wait_seconds histogram".to_owned(),
        "ostler_pool_queue_wait_seconds_bucket{pool=\"web\",le=\"0.0005\"} 90".to_owned(),
        "ostler_pool_queue_wait_seconds_bucket{pool=\"web\",le=\"0.05\"} 90".to_owned(),
        "ostler_pool_queue_wait_seconds_bucket{pool=\"web\",le=\"0.1\"} 99".to_owned(),
        "ostler_pool_queue_wait_seconds_bucket{pool=\"web\",le=\"60\"} 99".to_owned(),
        "ostler_pool_queue_wait_seconds_bucket{pool=\"web\",le=\"+Inf\"} 100".to_owned(),
        "ostler_pool_queue_wait_seconds_sum{pool=\"web\"} 1.5".to_owned(),
        "ostler_pool_queue_wait_seconds_count{pool=\"web\"} 100".to_owned(),
        format!("{run}_bucket{{{labels},le=\"0.001\"}} 0"),
        format!("{run}_bucket{{{labels},le=\"60\"}} 99"),
        format!("{run}_bucket{{{labels},le=\"+Inf\"}} 100"),
        format!("{run}_sum{{{labels}}} 70"),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

#[test]
fn prometheus_gets_what_routes_cost() {
    let text = prometheus(&costly::snapshot());
    let labels = "{pool=\"api\",route=\"/api/\"}";
    for (name, value) in [
        ("busy", "4"),
        ("requests_total", "100"),
        ("errors_total", "3"),
        ("shed_total", "2"),
        ("sent_bytes_total", "90000"),
        ("thread_seconds_total", "12.5"),
        ("cpu_seconds_total", "3.25"),
        ("db_queries_total", "4200"),
        ("db_seconds_total", "2.5"),
        ("outbound_calls_total", "3"),
        ("outbound_seconds_total", "0.75"),
        ("cache_hits_total", "11"),
        ("cache_misses_total", "5"),
        ("over_budget_total", "6"),
    ] {
        let line = format!("ostler_route_{name}{labels} {value}");
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("/unused"), "no series without a request");
    assert!(text.contains("\nostler_cache_hits_total{origin=\"cdn\"} 7\n"), "{text}");
}
