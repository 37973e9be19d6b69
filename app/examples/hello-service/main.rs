//! The smallest service: every path is answered with 66 bytes, `/sleep/MS` after so many
//! milliseconds.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::any;

const HELLO: &str = "Hello from a worker of Ostler, sixty-six bytes and no more of it.\n";

fn main() -> Result<(), ostler_app::RunError> {
    let router = Router::new().route("/sleep/{ms}", any(sleep)).fallback(async || HELLO);
    ostler_app::service(router)
}

async fn sleep(Path(ms): Path<u64>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    HELLO
}
