//! gunicorn with its worker of threads, behind nginx on a UNIX socket.
//!
//! As its documentation says for a proxy in front: connections are kept, the workers' heartbeat
//! lies in memory, and the access log is left to nginx.

use std::path::Path;

use crate::build::Binaries;
use crate::process::Program;
use crate::python::Application;
use crate::scenario::{WorkerPlan, Wsgi};

/// The program that listens on this socket.
pub(crate) fn program(
    plan: &WorkerPlan,
    wsgi: Wsgi,
    socket: &Path,
    folder: &Path,
    binaries: &Binaries,
) -> Program {
    let application = Application::of(wsgi, folder);
    let (name, value) = application.variable;
    let words = [
        binaries.python.program("gunicorn"),
        "--worker-class=gthread".to_owned(),
        format!("--workers={}", plan.processes),
        format!("--threads={}", plan.threads),
        "--keep-alive=75".to_owned(),
        "--backlog=511".to_owned(),
        "--worker-tmp-dir=/dev/shm".to_owned(),
        format!("--bind=unix:{}", socket.display()),
        format!("--chdir={}", application.folder.display()),
        application.name.to_owned(),
    ];
    Program::new(words).with(name, value)
}
