//! Real sockets on ports that the kernel chooses.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::*;

#[test]
fn port_zero_is_resolved_once_and_shared_by_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let listeners = bind_all("[[listener]]\naddress = '127.0.0.1:0'", dir.path()).unwrap();
    let listener = listeners.iter().next().unwrap();
    assert_eq!(listener.configured(), "127.0.0.1:0");
    let address: SocketAddr = listener.address().parse().unwrap();
    assert_ne!(address.port(), 0);
    let names: Vec<SocketAddr> = listener
        .sockets(2)
        .map(|socket| SocketAddr::try_from(getsockname(socket).unwrap()).unwrap())
        .collect();
    assert_eq!(names, [address, address]);
    TcpStream::connect(address).unwrap();
}

#[test]
fn an_address_that_another_process_uses_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    // With SO_REUSEPORT: only the probe can notice this one.
    let stranger = tcp_socket("127.0.0.1:0".parse().unwrap(), true).unwrap();
    listen_with(&stranger, 1).unwrap();
    let address = SocketAddr::try_from(getsockname(&stranger).unwrap()).unwrap();

    let toml = format!("[[listener]]\nname = 'public'\naddress = '{address}'");
    let error = bind_all(&toml, dir.path()).unwrap_err();
    assert_eq!((error.name.as_str(), error.address), ("public", address.to_string()));
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_reload_keeps_the_sockets_of_an_address_and_closes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let old = bind_all(
        "[[listener]]\nname = 'a'\naddress = '127.0.0.1:0'\n\
         [[listener]]\nname = 'b'\naddress = '127.0.0.2:0'",
        dir.path(),
    )
    .unwrap();
    let kept = old.iter().next().unwrap().address().to_owned();
    let closed = old.iter().nth(1).unwrap().address().to_owned();

    let config = config("[[listener]]\nname = 'a'\naddress = '127.0.0.1:0'", dir.path());
    let new = Listeners::bind(&config, &dir.path().join("status.sock"), &old).unwrap();
    assert_eq!(new.iter().next().unwrap().address(), kept);
    assert_eq!(new.without(&old).count(), 0);
    drop(old);
    TcpStream::connect(&kept).unwrap();
    TcpStream::connect(&closed).unwrap_err();
}

#[test]
fn a_wider_address_on_a_port_of_ours_can_be_bound_beside_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let narrow = format!("[[listener]]\naddress = '127.0.0.1:{free}'");
    let old = bind_all(&narrow, dir.path()).unwrap();
    let wide = config(&format!("[[listener]]\naddress = '0.0.0.0:{free}'"), dir.path());
    Listeners::bind(&wide, &dir.path().join("status.sock"), &old).unwrap();
}

#[test]
fn ipv6_listeners_leave_the_ipv4_port_alone() {
    let dir = tempfile::tempdir().unwrap();
    let Ok(listeners) = bind_all("[[listener]]\naddress = '[::]:0'", dir.path()) else {
        return; // A machine without IPv6.
    };
    let address: SocketAddr = listeners.iter().next().unwrap().address().parse().unwrap();
    TcpListener::bind(("0.0.0.0", address.port())).unwrap();
}

#[test]
fn a_stale_unix_socket_is_replaced_and_removed_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let toml = format!("[[listener]]\naddress = 'unix:{}'", path.display());
    let listeners = bind_all(&toml, dir.path()).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(listeners.iter().next().unwrap().sockets(2).count(), 2);
    drop(listeners);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_in_use_and_a_plain_file_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (used, file) = (dir.path().join("used.sock"), dir.path().join("file"));
    let _answers = UnixListener::bind(&used).unwrap();
    std::fs::write(&file, "precious").unwrap();
    let error = listen_unix(&used, PUBLIC, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let error = listen_unix(&file, PUBLIC, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_unix_socket_that_is_full_or_of_another_type_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (full, other) = (dir.path().join("full.sock"), dir.path().join("other.sock"));
    let _full = listen_unix(&full, PUBLIC, 0).unwrap();
    let _waiting = UnixStream::connect(&full).unwrap();
    let _other = UnixDatagram::bind(&other).unwrap();
    for path in [full, other] {
        let error = listen_unix(&path, PUBLIC, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{path:?}: {error}");
    }
}

#[test]
fn a_unix_socket_has_its_mode_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    for mode in [PUBLIC, PRIVATE] {
        let path = dir.path().join(format!("{mode:o}.sock"));
        let _socket = listen_unix(&path, mode, 1).unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
    }
}

#[test]
fn closing_the_client_listeners_leaves_the_status_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut listeners = bind_all("[[listener]]\naddress = '127.0.0.1:0'", dir.path()).unwrap();
    listeners.close_clients();
    let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["status", "status-internal"]);
}

fn bind_all(toml: &str, dir: &Path) -> Result<Listeners, BindError> {
    Listeners::bind(&config(toml, dir), &dir.join("status.sock"), &Listeners::default())
}

fn config(toml: &str, dir: &Path) -> Config {
    let text = format!("server.threads = 2\nstatus.address = '127.0.0.1:0'\n{toml}\n");
    Config::parse(&text, &dir.join("ostler.toml")).unwrap()
}
