//! The program behind every server that is compared: one application, run in three ways.
//!
//! `load-worker service` and `load-worker threads` are workers, as Ostler starts them or on a
//! socket of their own; `load-worker bare ADDRESS` answers clients itself, as fast as the HTTP
//! library can, and so is the limit for all the others.

mod answer;
mod bare;

use std::error::Error;
use std::io;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use ostler_app::{Body, Request, Response};

use crate::answer::Answer;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["service"] => Ok(ostler_app::service(tower::service_fn(serve))?),
        ["threads"] => Ok(ostler_app::threads(handle)?),
        ["bare", address] => Ok(bare::run(address)?),
        _ => Err("usage: load-worker service|threads|bare ADDRESS".into()),
    }
}

/// Answers in a service; only a body is worth waiting for.
async fn serve(request: http::Request<Body>) -> Result<http::Response<Full<Bytes>>, io::Error> {
    let answer = if request.method() == Method::POST {
        answer::length(request.into_body().collect().await?.to_bytes().len() as u64)
    } else {
        answer::to(request.uri().path())
    };
    Ok(answer.into_response())
}

/// Answers on a thread.
fn handle(request: Request) -> Response {
    let answer = if request.method() == Method::POST {
        match io::copy(&mut request.into_body(), &mut io::sink()) {
            Ok(length) => answer::length(length),
            Err(error) => Answer::failed(&error.to_string()),
        }
    } else {
        answer::to(request.uri().path())
    };
    answer.into_response()
}
