//! Granian, which serves clients itself: a server in Rust that runs WSGI on threads.
//!
//! As many processes and threads as all others have, and otherwise as it comes, which is as its
//! documentation advises: no access log, no `WebSockets`, one thread for the network in each
//! process.

use anyhow::{Context as _, Result};

use crate::process::Program;
use crate::python::Application;
use crate::server::{Launch, Place};

pub(crate) fn launch(place: &Place<'_>) -> Result<Launch> {
    let plan = place.scenario.worker.as_ref().context("granian runs an application")?;
    let wsgi = plan.wsgi.context("granian runs an application in Python")?;
    let application = Application::of(wsgi, place.folder);
    let (name, value) = application.variable;
    let words = [
        place.binaries.python.program("granian"),
        "--interface=wsgi".to_owned(),
        "--http=1".to_owned(),
        "--no-ws".to_owned(),
        format!("--workers={}", plan.processes),
        format!("--blocking-threads={}", plan.threads),
        format!("--host={}", place.address.ip()),
        format!("--port={}", place.address.port()),
        format!("--working-dir={}", application.folder.display()),
        application.name.to_owned(),
    ];
    Ok(Launch { files: Vec::new(), program: Program::new(words).with(name, value) })
}
