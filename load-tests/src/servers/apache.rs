//! Apache httpd: a thread for each request that is proxied.
//!
//! Two processes have twice as many threads as there are connections: with fewer, the event MPM
//! closes kept connections early. `mod_proxy` keeps its connections to workers; `mod_wsgi` runs
//! the application in Python, in daemon mode.

use anyhow::{Result, bail};

use crate::process::{Program, output};
use crate::python::Application;
use crate::scenario::{WorkerPlan, Wsgi};
use crate::server::{Launch, Place};
use crate::text::add;

/// Where Debian installs modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// What every set-up loads beside its MPM.
const LOADED: [&str; 7] = [
    "authz_core",
    "proxy",
    "proxy_http",
    "proxy_balancer",
    "lbmethod_bybusyness",
    "slotmem_shm",
    "mime",
];

/// Which `mod_wsgi` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModWsgi {
    /// The one that Debian has.
    Debian,
    /// The newest, compiled for the virtual environment.
    Pypi,
}

/// `mod_proxy_http` under this MPM.
pub(crate) fn launch(place: &Place<'_>, mpm: &str) -> Launch {
    let mut text = configuration(place, mpm);
    if place.sockets.is_empty() {
        return foreground(place, text, Vec::new());
    }
    text += "<Proxy \"balancer://app\">\n";
    for (index, socket) in place.sockets.iter().enumerate() {
        let socket = socket.display();
        let member = format_args!(
            "BalancerMember \"unix:{socket}|http://worker-{index}\"
"
        );
        add(&mut text, member);
    }
    text += "ProxySet lbmethod=bybusyness\n</Proxy>\nProxyPass \"/static/\" \"!\"\n\
        ProxyPass \"/\" \"balancer://app/\"\n";
    foreground(place, text, Vec::new())
}

/// `mod_wsgi` in daemon mode under the event MPM, before one of the applications in Python; in
/// place of a worker of our own the one that does the same.
pub(crate) fn launch_mod_wsgi(place: &Place<'_>, which: ModWsgi) -> Result<Launch> {
    let Some(plan @ WorkerPlan { command: None, .. }) = &place.scenario.worker else {
        bail!("mod_wsgi runs the applications of this tool only");
    };
    let python = &place.binaries.python;
    let module = match which {
        ModWsgi::Debian => format!("{MODULES}/mod_wsgi.so"),
        ModWsgi::Pypi => output(&[&python.program("mod_wsgi-express"), "module-location"])?,
    };
    if plan.wsgi.is_none() {
        python.write(Wsgi::Plain, place.folder)?;
    }
    let application = Application::of(plan.wsgi.unwrap_or(Wsgi::Plain), place.folder);
    let text = configuration(place, "event") + &daemons(place, plan, &application, module.trim());
    let mut launch = foreground(place, text, Vec::new());
    let (name, value) = application.variable;
    launch.program = launch.program.with(name, value);
    Ok(launch)
}

/// The daemon processes, and what they run.
fn daemons(
    place: &Place<'_>,
    plan: &WorkerPlan,
    application: &Application,
    module: &str,
) -> String {
    let folder = place.folder.display();
    let (path, script) = (application.folder.display(), application.script.display());
    let WorkerPlan { processes, threads, .. } = plan;
    // Without a virtual environment it is that of the system.
    let home = plan.wsgi.map_or_else(String::new, |_| {
        format!(" python-home={}", place.binaries.python.home().display())
    });
    format!(
        "LoadModule wsgi_module {module}\n\
         LoadModule alias_module {MODULES}/mod_alias.so\nAlias /static/ {folder}/static/\n\
         WSGISocketPrefix {folder}/wsgi\nWSGIEnableSendfile On\n\
         WSGIDaemonProcess app processes={processes} threads={threads} \
         display-name=%{{GROUP}} python-path={path}{home}\n\
         WSGIProcessGroup app\nWSGIApplicationGroup %{{GLOBAL}}\n\
         WSGIScriptAlias / {script}\n<Directory {script_folder}>\nRequire all granted\n\
         </Directory>\n",
        script_folder = application.script.parent().unwrap_or(place.folder).display(),
    )
}

fn foreground(place: &Place<'_>, config: String, mut files: Vec<(&'static str, String)>) -> Launch {
    files.push(("apache.conf", config));
    let path = place.folder.join("apache.conf").display().to_string();
    Launch { files, program: Program::new(["apache2", "-f", &path, "-D", "FOREGROUND"]) }
}

fn configuration(place: &Place<'_>, mpm: &str) -> String {
    let folder = place.folder.display();
    let threads = place.scenario.load.connections.clamp(64, 512);
    let module = |name: &str| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n");
    let modules: String = LOADED.into_iter().map(module).collect();
    let factor = if mpm == "event" { "AsyncRequestWorkerFactor 200\n" } else { "" };
    // As root its processes have to be somebody else.
    let user = if place.is_root { "User www-data\nGroup www-data\n" } else { "" };
    format!(
        "ServerRoot {folder}\nServerName localhost\nListen {address}\nListenBacklog 511\n{user}\
         PidFile {folder}/apache.pid\nDefaultRuntimeDir {folder}\nErrorLog {folder}/error.log\n\
         {mpm_module}{modules}\
         StartServers 2\nServerLimit 2\nThreadLimit {threads}\nThreadsPerChild {threads}\n\
         MaxRequestWorkers {all}\nMinSpareThreads 1\nMaxSpareThreads {all}\n{factor}\
         Timeout 60\nKeepAlive On\nKeepAliveTimeout 75\nMaxKeepAliveRequests 0\n\
         EnableSendfile On\nTypesConfig /dev/null\n\
         LogFormat \"%h %l %u %t \\\"%r\\\" %>s %O \\\"%{{Referer}}i\\\" \\\"%{{User-Agent}}i\\\"\" combined\n\
         BufferedLogs On\nCustomLog {folder}/access.log combined\n\
         DocumentRoot {folder}\n<Directory {folder}>\nRequire all granted\n\
         AllowOverride None\nOptions FollowSymLinks\n</Directory>\n",
        address = place.address,
        mpm_module = module(&format!("mpm_{mpm}")),
        all = threads * 2,
    )
}
