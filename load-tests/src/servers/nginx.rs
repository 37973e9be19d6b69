//! nginx, tuned as its documentation says.
//!
//! `keepalive` in the upstream with HTTP/1.1 and an empty Connection field, a buffered access
//! log, no limit of requests on a connection, buffers that hold the bodies that are measured, so
//! that none goes through a temporary file, and a cache of open files.

use crate::process::Program;
use crate::server::{Launch, Place};
use crate::text::add;

pub(crate) fn launch(place: &Place<'_>) -> Launch {
    let folder = place.folder.display().to_string();
    let config = format!("{folder}/nginx.conf");
    let words = ["nginx", "-p", &folder, "-c", &config, "-e", &format!("{folder}/error.log")];
    Launch { files: vec![("nginx.conf", configuration(place))], program: Program::new(words) }
}

fn configuration(place: &Place<'_>) -> String {
    let folder = place.folder.display();
    // Only root can become somebody else.
    let user = if place.is_root { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;\npid {folder}/nginx.pid;\nworker_processes {threads};\n\
         events {{ worker_connections 20000; }}\n\
         http {{\n\
         access_log {folder}/access.log combined buffer=64k flush=1s;\n\
         client_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\nuwsgi_temp_path {folder}/uwsgi;\n\
         scgi_temp_path {folder}/scgi;\n\
         keepalive_timeout 75s;\nkeepalive_requests 1000000000;\n\
         sendfile on;\ntcp_nopush on;\nopen_file_cache max=1000 inactive=60s;\n\
         client_max_body_size 16m;\nclient_body_buffer_size {body};\n\
         proxy_buffers 16 16k;\nproxy_max_temp_file_size 0;\n\
         {upstream}\
         server {{\nlisten {address} backlog=511;\n{locations}}}\n}}\n",
        threads = place.scenario.server_threads,
        address = place.address,
        body = place.scenario.request.body_bytes.max(128 * 1024),
        upstream = upstream(place),
        locations = locations(place),
    )
}

fn upstream(place: &Place<'_>) -> String {
    let server = |socket: &std::path::PathBuf| format!("server unix:{};\n", socket.display());
    let servers: String = place.sockets.iter().map(server).collect();
    if servers.is_empty() {
        return servers;
    }
    format!(
        "upstream app {{\nleast_conn;\n{servers}keepalive 512;\n\
         keepalive_requests 1000000000;\n}}\n"
    )
}

fn locations(place: &Place<'_>) -> String {
    let mut text = String::new();
    if place.scenario.files.is_some() {
        let folder = place.folder.display();
        add(&mut text, format_args!("location /static/ {{ root {folder}; }}\n"));
    }
    if !place.sockets.is_empty() {
        text += "location / {\nproxy_pass http://app;\nproxy_http_version 1.1;\n\
            proxy_set_header Connection \"\";\nproxy_set_header Host $host;\n\
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
            proxy_set_header X-Forwarded-Proto $scheme;\n}\n";
    }
    text
}
