//! HAProxy, tuned as its documentation says.
//!
//! `http-reuse always`, least connections, and `maxconn` on each server, so that requests wait in
//! one queue of the proxy and not in the worker; the log goes to standard output, which is a file.

use crate::process::Program;
use crate::scenario::WorkerPlan;
use crate::server::{Launch, Place};

pub(crate) fn launch(place: &Place<'_>) -> Launch {
    let config = place.folder.join("haproxy.cfg").display().to_string();
    let program = Program::new(["haproxy", "-db", "-f", &config]);
    Launch { files: vec![("haproxy.cfg", configuration(place))], program }
}

fn configuration(place: &Place<'_>) -> String {
    let limit = place.scenario.worker.as_ref().map_or(1, WorkerPlan::concurrency);
    let server = |(index, socket): (usize, &std::path::PathBuf)| {
        format!("server worker-{index} unix@{} maxconn {limit}\n", socket.display())
    };
    let servers: String = place.sockets.iter().enumerate().map(server).collect();
    format!(
        "global\nmaxconn 20000\nno strict-limits\nnbthread {threads}\nlog stdout format raw local0\n\
         defaults\nmode http\nlog global\noption httplog\noption forwardfor\n\
         timeout connect 5s\ntimeout client 75s\ntimeout server 60s\n\
         timeout http-keep-alive 75s\ntimeout queue 10s\n\
         frontend public\nbind {address} backlog 511\ndefault_backend app\n\
         backend app\nbalance leastconn\nhttp-reuse always\n{servers}",
        threads = place.scenario.server_threads,
        address = place.address,
    )
}
