//! The smallest blocking worker: every path is answered with 66 bytes, `/sleep/MS` after so many
//! milliseconds.

use std::time::Duration;

use http::HeaderValue;
use ostler_app::{Request, Response, ResponseBody};

const HELLO: &str = "Hello from a worker of Ostler, sixty-six bytes and no more of it.\n";

fn main() -> Result<(), ostler_app::RunError> {
    ostler_app::threads(answer)
}

#[expect(clippy::needless_pass_by_value, reason = "a handler owns its request")]
fn answer(request: Request) -> Response {
    if let Some(ms) = request.uri().path().strip_prefix("/sleep/").and_then(|ms| ms.parse().ok()) {
        sleep(Duration::from_millis(ms));
    }
    let mut response = Response::new(ResponseBody::from(HELLO));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, text);
    response
}

#[expect(clippy::disallowed_methods, reason = "to block a thread is what this path is for")]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}
