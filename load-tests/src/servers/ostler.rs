//! Ostler with everything on: access log, status page, every default limit.

use crate::process::Program;
use crate::python::Application;
use crate::scenario::WorkerPlan;
use crate::server::{Launch, Place, worker_command};
use crate::text::add;

/// The file in the server's folder.
pub(crate) const CONFIG: &str = "ostler.toml";

/// A line of the pool, which the scenario of reloads changes.
pub(crate) const TOUCHED: (&str, &str) = ("stop-timeout = \"5s\"", "stop-timeout = \"6s\"");

/// `pool_line` goes into every pool.
pub(crate) fn launch(place: &Place<'_>, pool_line: &str) -> Launch {
    let config = place.folder.join(CONFIG).display().to_string();
    let ostler = place.binaries.ostler.display().to_string();
    let words = [&ostler, "run", "--allow-root", "-c", &config].map(str::to_owned);
    Launch { files: vec![(CONFIG, configuration(place, pool_line))], program: Program::new(words) }
}

fn configuration(place: &Place<'_>, pool_line: &str) -> String {
    let folder = place.folder.display();
    let mut text = format!(
        "[server]\nthreads = {}\nmax-connections = 20000\nruntime-dir = \"{folder}/run\"\n\n\
         [log]\naccess = {{ path = \"{folder}/access.log\" }}\n\n\
         [status]\naddress = \"{}\"\n\n[[listener]]\naddress = \"{}\"\n\n",
        place.scenario.server_threads, place.status_address, place.address,
    );
    if place.scenario.files.is_some() {
        add(&mut text, format_args!("[origin.static]\ndirectory = \"{folder}/static\"\n\n"));
    }
    add_pools(&mut text, place, pool_line);
    add_routes(&mut text, place);
    text
}

fn add_pools(text: &mut String, place: &Place<'_>, pool_line: &str) {
    let Some(plan) = &place.scenario.worker else { return };
    let application = application(place, plan);
    for pool in 0..place.scenario.pools {
        add(
            text,
            format_args!(
                "[pool.app-{pool}]\n{application}processes = {}\nthreads = {}\n\
                 concurrency = {}\n{}\n{pool_line}\n",
                plan.processes,
                plan.threads,
                plan.concurrency(),
                TOUCHED.0,
            ),
        );
    }
}

/// The lines of a pool that say what it runs.
fn application(place: &Place<'_>, plan: &WorkerPlan) -> String {
    let Some(wsgi) = plan.wsgi else {
        return format!("command = {:?}\n", worker_command(plan, "", place.binaries));
    };
    let Application { name, folder, variable: (variable, value), .. } =
        Application::of(wsgi, place.folder);
    let (python, folder) = (place.binaries.python.program("python"), folder.display());
    let preload: Vec<_> = place.binaries.preload.iter().collect();
    format!(
        "wsgi = {name:?}\npython = {python:?}\npython-path = [\"{folder}\"]\n\
         preload = {preload:?}\nenvironment = {{ {variable} = {value:?} }}\n"
    )
}

fn add_routes(text: &mut String, place: &Place<'_>) {
    text.push_str("[[site]]\n\n");
    if place.scenario.files.is_some() {
        text.push_str("[[site.route]]\npath = \"/static/\"\norigin = \"static\"\n\n");
    }
    if place.scenario.worker.is_none() {
        return;
    }
    text.push_str("[[site.route]]\npath = \"/\"\npool = \"app-0\"\n\n");
    for pool in (0..place.scenario.pools).filter(|_| 1 < place.scenario.pools) {
        let path = format!("/pool-{pool}/");
        add(text, format_args!("[[site.route]]\npath = \"{path}\"\npool = \"app-{pool}\"\n\n"));
    }
    for route in 1..place.scenario.routes {
        let path = format!("/route-{route}/");
        add(text, format_args!("[[site.route]]\npath = \"{path}\"\npool = \"app-0\"\n\n"));
    }
}
