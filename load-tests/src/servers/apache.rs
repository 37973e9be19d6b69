//! Apache httpd: a thread for each request that is proxied.
//!
//! Two processes have twice as many threads as there are connections: with fewer, the event MPM
//! closes kept connections early. `mod_proxy` keeps its connections to workers; `mod_wsgi` runs
//! the application in Python, in daemon mode.

use anyhow::{Result, bail};

use crate::process::Program;
use crate::scenario::WorkerPlan;
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

/// The application that the other servers have a Rust worker for, in Python.
const WSGI: &str = include_str!("apache/hello.wsgi");

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

/// `mod_wsgi` in daemon mode under the event MPM.
pub(crate) fn launch_mod_wsgi(place: &Place<'_>) -> Result<Launch> {
    let Some(WorkerPlan { command: None, processes, threads, .. }) = place.scenario.worker else {
        bail!("mod_wsgi runs the application of this tool only");
    };
    let folder = place.folder.display();
    let text = configuration(place, "event")
        + &format!(
            "LoadModule wsgi_module {MODULES}/mod_wsgi.so\n\
             LoadModule alias_module {MODULES}/mod_alias.so\nAlias /static/ {folder}/static/\n\
             WSGISocketPrefix {folder}/wsgi\n\
             WSGIDaemonProcess app processes={processes} threads={threads} display-name=%{{GROUP}}\n\
             WSGIProcessGroup app\nWSGIApplicationGroup %{{GLOBAL}}\n\
             WSGIScriptAlias / {folder}/hello.wsgi\n"
        );
    Ok(foreground(place, text, vec![("hello.wsgi", WSGI.to_owned())]))
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
