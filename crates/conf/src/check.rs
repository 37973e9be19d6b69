//! What must hold between tables: names that are unique, and paths that fit into a socket.
//!
//! References to pools, origins and listeners are checked where they are decoded.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::decode::Decoder;
use crate::model::Config;
use crate::source::Place;
use crate::tree::{Data, Node, TableNode};
use crate::value::{ListenAddress, MAX_SOCKET_PATH};

/// Bytes that the path of a worker's socket has beyond the runtime directory and the pool's name:
/// separators, a folder, slot and generation with up to ten digits each, and an ending.
const WORKER_SOCKET_EXTRA: usize = 40;

/// Checks everything that needs the whole configuration.
pub(crate) fn whole(config: &Config, root: &TableNode, decoder: &mut Decoder<'_>) {
    addresses(config, root, decoder);
    sockets(config, root, decoder);
    hosts(root, decoder);
}

/// Refuses two listeners with one name. `names` are in the order of the file; `None` for a
/// listener that could not be decoded.
pub(crate) fn listener_names(
    names: &[Option<&String>],
    root: &TableNode,
    decoder: &mut Decoder<'_>,
) {
    if let Some(node) = root.get("listener")
        && matches!(&node.data, Data::Array(listeners) if listeners.is_empty())
    {
        decoder.absent(node.at, "`listener`: must have at least one");
    }
    let mut seen: BTreeMap<&String, Place> = BTreeMap::new();
    for (name, node) in names.iter().zip(root.elements("listener")) {
        let (Some(name), Some(table)) = (name, node.as_table()) else { continue };
        let key = if table.get("name").is_some() { "name" } else { "address" };
        let place = table.place(key);
        if let Some(first) = seen.insert(name, place) {
            let first = decoder.sources.position(first);
            let message = format!("`{key}`: the listener at {first} is called {name:?} as well");
            decoder.problem(place, message);
        }
    }
}

/// Refuses an address that two listeners have, the status page's included.
fn addresses(config: &Config, root: &TableNode, decoder: &mut Decoder<'_>) {
    let tables = root.elements("listener").iter().filter_map(Node::as_table);
    let places: Vec<Place> = tables.filter_map(|table| Some(table.get("address")?.at)).collect();
    if config.listeners.len() != places.len() && !places.is_empty() {
        return;
    }
    // Without a place: the default.
    let mut all: Vec<(&ListenAddress, Option<Place>)> = Vec::new();
    let status = root.table("status").and_then(|table| Some(table.get("address")?.at));
    all.extend(config.status.address.as_ref().map(|address| (address, status)));
    let places = places.into_iter().map(Some).chain(std::iter::once(None));
    all.extend(config.listeners.iter().map(|listener| &listener.address).zip(places));
    all.sort_by_key(|(_, place)| *place);
    let mut seen: BTreeMap<&ListenAddress, Option<Place>> = BTreeMap::new();
    for (address, place) in all {
        let chosen_by_kernel = matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
        if !chosen_by_kernel && let Some(first) = seen.insert(address, place) {
            let first = first.map_or_else(
                || "a default listener".to_owned(),
                |first| format!("the listener at {}", decoder.sources.position(first)),
            );
            let message = format!("`address`: {address} is taken by {first}");
            decoder.problem(place.unwrap_or(root.at), message);
        }
    }
}

/// Refuses paths of UNIX sockets that the kernel would refuse.
fn sockets(config: &Config, root: &TableNode, decoder: &mut Decoder<'_>) {
    let server = root.table("server");
    let place_of = |key: &str| server.map_or(root.at, |server| server.place(key));
    let longest_name = config.pools.keys().map(String::len).max().unwrap_or_default();
    let room = (MAX_SOCKET_PATH - WORKER_SOCKET_EXTRA).saturating_sub(longest_name);
    let length = length(&config.server.runtime_dir);
    if room < length {
        let message = format!(
            "`runtime-dir`: {} has {length} bytes; {room} is the most that leaves room for the names of sockets",
            config.server.runtime_dir.display()
        );
        decoder.problem(place_of("runtime-dir"), message);
    }
    let control = &config.server.control_socket;
    check_socket("control-socket", control, place_of("control-socket"), decoder);
    let listeners = root.elements("listener").iter().filter_map(Node::as_table);
    for (listener, table) in config.listeners.iter().zip(listeners) {
        if let ListenAddress::Unix(path) = &listener.address {
            check_socket("address", path, table.place("address"), decoder);
        }
    }
    if let (Some(ListenAddress::Unix(path)), Some(table)) =
        (&config.status.address, root.table("status"))
    {
        check_socket("address", path, table.place("address"), decoder);
    }
}

fn check_socket(key: &str, path: &Path, place: Place, decoder: &mut Decoder<'_>) {
    let length = length(path);
    if MAX_SOCKET_PATH < length {
        let path = path.display();
        let message = format!(
            "`{key}`: {path} has {length} bytes; the path of a socket has at most {MAX_SOCKET_PATH}"
        );
        decoder.problem(place, message);
    }
}

fn length(path: &Path) -> usize {
    path.as_os_str().as_bytes().len()
}

/// Refuses a host that two sites on the same listener have, or the same site twice.
///
/// Works on the tree, so that a site with another mistake counts as well.
fn hosts(root: &TableNode, decoder: &mut Decoder<'_>) {
    let sites: Vec<&TableNode> = root.elements("site").iter().filter_map(Node::as_table).collect();
    let mut seen: Vec<(Option<String>, Place, &TableNode)> = Vec::new();
    for site in sites {
        for (host, place) in hosts_of(site) {
            let same = seen.iter().find(|(other, _, of)| *other == host && share(site, of));
            if let Some((_, first, _)) = same {
                let first = decoder.sources.position(*first);
                decoder.problem(
                    place,
                    match &host {
                        Some(host) => format!("`hosts`: {host:?} belongs to the site at {first}"),
                        None => format!("a site without hosts stands at {first} already"),
                    },
                );
            }
            seen.push((host, place, site));
        }
    }
}

/// The hosts of a site with their places; `None` for a site that takes any.
fn hosts_of(site: &TableNode) -> Vec<(Option<String>, Place)> {
    let any = match site.get("hosts").map(|node| &node.data) {
        None => true,
        Some(Data::Array(hosts)) => hosts.is_empty(),
        Some(_) => false,
    };
    if any {
        return vec![(None, site.at)];
    }
    let elements = site.elements("hosts").iter();
    elements.filter_map(|node| Some((Some(text(node)?.to_ascii_lowercase()), node.at))).collect()
}

/// Whether two sites are served on a common listener.
fn share(site: &TableNode, other: &TableNode) -> bool {
    let [ours, theirs] = [site, other].map(|site| site.elements("listeners"));
    let common =
        || ours.iter().filter_map(text).any(|name| theirs.iter().any(|n| text(n) == Some(name)));
    ours.is_empty() || theirs.is_empty() || common()
}

fn text(node: &Node) -> Option<&str> {
    if let Data::Text(text) = &node.data { Some(text) } else { None }
}
