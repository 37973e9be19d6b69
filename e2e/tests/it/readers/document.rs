//! The documents of real servers against the schema in `docs/`: every key that occurs is described
//! there, and every value is as it says.

use std::path::Path;

use jsonschema::Validator;
use ostler_e2e::{Plan, Stack, process};
use rustix::process::Signal;
use serde_json::Value;

use crate::ask;

#[tokio::test]
async fn documents_of_real_servers_are_as_the_schema_says() {
    let validator = validator();
    let stack = Plan::probe()
        .with("pool.probe.processes = 2\npool.probe.request-timeout = '300ms'")
        .with("pool.probe.stuck-grace = '1h'\npool.idle = { command = ['probe'], processes = 1 }")
        .with("pool.idle.environment = { PROBE_MODE = 'service' }\npool.idle.concurrency = 100")
        .with("origin.cdn.servers = ['http://127.0.0.1:9']\norigin.files.directory = '/tmp'")
        .with("[[site]]\nroute = [{path='/', pool='probe'}, {path='/cdn/', origin='cdn'}]")
        .start()
        .await;
    holds(&validator, "at rest", &stack.status().await);

    // One request past its time, one in time, one origin that failed.
    let stuck = ask(&stack, "/sleep/3600000").await;
    stack.get("/cdn/").await.expect_reason(502, "origin-connect");
    stack.until_pool("probe", |pool| pool["stuck"] == 1).await;
    let held = ask(&stack, "/sleep/250").await;
    let busy = stack.until(|status| status["pools"]["probe"]["busy"] == 2).await;
    holds(&validator, "busy", &busy);
    drop(held);

    // Its worker crashes with the request inside it.
    let worker = holder(&stack).await;
    assert!(process::signal(worker, Signal::KILL));
    let crashed = stack
        .until(|status| {
            let pool = &status["pools"]["probe"];
            pool["last_exit"].is_object()
                && pool["post_mortems"].as_array().is_some_and(|them| !them.is_empty())
        })
        .await;
    holds(&validator, "after a crash", &crashed);
    drop(stuck);
}

/// The process of the worker whose request is stuck.
async fn holder(stack: &Stack) -> u32 {
    let status = stack.status().await;
    let workers = status["pools"]["probe"]["workers"].as_array().unwrap();
    let is_stuck = |worker: &&Value| {
        worker["threads"].as_array().unwrap().iter().any(|thread| thread["stuck"] == true)
    };
    let worker = workers.iter().find(is_stuck).unwrap();
    worker["pid"].as_u64().unwrap().try_into().unwrap()
}

#[track_caller]
fn holds(validator: &Validator, when: &str, document: &Value) {
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{when}: {errors:#?}\n{document:#}");
}

/// The schema, with nothing allowed beside what it describes. Readers have to take more.
fn validator() -> Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.schema.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    forbid_more(&mut schema);
    jsonschema::draft202012::new(&schema).unwrap()
}

fn forbid_more(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.contains_key("properties") {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object.values_mut().for_each(forbid_more);
    }
}
