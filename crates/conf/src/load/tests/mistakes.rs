//! What is said about files that are wrong. `a.toml` is the file.

use super::errors;

#[test]
fn five_mistakes_are_five_positions() {
    let text = "\
[server]
thread = 4                      # 2:1, an unknown key

[keepalive]
idle-timeout = 5                # 5:16, a bare number

[pool.web]
command = [\"site\"]
queue-length = \"many\"           # 9:16, a wrong type

[[site]]
[[site.route]]
path = \"static\"                 # 13:8, a bad value
pool = \"wbe\"                    # 14:8, no such pool
";
    let expected = "\
a.toml:2:1: unknown key `thread` in [server]; did you mean `threads`?
a.toml:5:16: `idle-timeout`: expected a duration, found the number 5; write a string with a unit, such as \"5s\"
a.toml:9:16: `queue-length`: expected a whole number, found the string \"many\"
a.toml:13:8: `path`: \"static\" must begin with \"/\" or, for one path alone, \"=/\"
a.toml:14:8: there is no pool `wbe`; did you mean `web`?";
    assert_eq!(errors(text), expected);
}

#[test]
fn syntax_errors_are_reported_together_and_hide_only_their_own_lines() {
    let text =
        "[server]\nthreads = \nuser = 5x\nwatch = 1\n[limits]\nhead-fields = 5 6\nhead-size = 7\n";
    let expected = "\
a.toml:2:11: string values must be quoted, expected literal string
a.toml:3:8: string values must be quoted, expected literal string
a.toml:4:9: `watch`: expected true or false, found the number 1
a.toml:6:15: string values must be quoted, expected literal string
a.toml:7:13: `head-size`: expected a size, found the number 7; write a string with a unit, such as \"64KiB\"";
    assert_eq!(errors(text), expected);
    // What is not there may be what could not be read.
    assert_eq!(errors("[pool.web]\ncommand = [\"a\"\n").lines().count(), 1);
}

#[test]
fn keys_of_any_table_are_known_or_refused() {
    check("servr = 1", "1:1: unknown key `servr`; did you mean `server`?");
    check(
        "[tls]",
        "1:2: unknown key `tls`; known: include, server, keepalive, timeouts, limits, spool, \
         listener, proxies, pool, origin, site, status, log",
    );
    check("[log.acess]", "1:6: unknown key `acess` in [log]; did you mean `access`?");
    check(
        "[log.error]\nformat = 'json'",
        "2:1: unknown key `format` in [log.error]; known: path, level",
    );
    check(
        "[limits]\nhead_size = '1KiB'",
        "2:1: unknown key `head_size` in [limits]; did you mean `head-size`?",
    );
    check(
        "[[listener]]\naddress = '[::]:80'\nkeepalive.max-request = 1",
        "3:11: unknown key `max-request` in [listener.keepalive]; did you mean `max-requests`?",
    );
    for later in ["http2 = true", "tls = false", "proxy-protocol = true"] {
        let text = format!("[[listener]]\naddress = '[::]:80'\n{later}");
        assert!(errors(&text).starts_with("a.toml:3:1: unknown key"), "{later}");
    }
}

#[test]
fn values_have_their_type_and_their_range() {
    check("server = 1", "1:10: `server`: expected a table, found the number 1");
    check(
        "[server]\nwatch = 'yes'",
        "2:9: `watch`: expected true or false, found the string \"yes\"",
    );
    check("[server]\nthreads = 0", "2:11: `threads`: 0 is not within 1 to 64");
    check(
        "[server]\nthreads = -1",
        &format!("2:11: `threads`: the number -1 is not within 0 to {}", usize::MAX),
    );
    check(
        "[server]\nthreads = 1.5",
        "2:11: `threads`: expected a whole number, found the number 1.5",
    );
    check(
        "[server]\nlisten-backlog = 99999999999999999999",
        "2:18: `listen-backlog`: a number outside 64 bits is not within 0 to 4294967295",
    );
    check("[server]\nuser = ''", "2:8: `user`: must not be empty");
    check("[server]\nuser = \"a\\u0000\"", "2:8: a string must not contain a NUL character");
    check("[timeouts]\nhead = '0s'", "2:8: `head`: \"0s\" is not within \"1ms\" to \"1d\"");
    check(
        "[timeouts]\nhead = '5'",
        "2:8: `head`: \"5\" is not a duration: write a whole number and ms, s, m, h or d, such as \"5s\"",
    );
    check(
        "[limits]\nhead-size = '64kb'",
        "2:13: `head-size`: \"64kb\" is not a size: write \"64KiB\"",
    );
    check(
        "[limits]\nhead-size = '1GiB'",
        "2:13: `head-size`: \"1GiB\" is not within \"1KiB\" to \"1MiB\"",
    );
    check(
        "[proxies]\ntrusted = '10.0.0.0/8'",
        "2:11: `trusted`: expected an array, found the string \"10.0.0.0/8\"; write it in `[` `]`",
    );
    check(
        "[status]\nallow = ['unix', 'all']",
        "2:18: `allow`: \"all\" is not a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"",
    );
    check("[status]\npath = 'x'", "2:8: `path`: \"x\" must begin with \"/\"");
    check(
        "[status]\npath = '/metrics/'",
        "1:1: `metrics-path`: \"/metrics\" is already the `path`",
    );
    check(
        "[log]\nerror.level = 'warning'",
        "2:15: `level`: \"warning\" is not a level; did you mean `warn`?",
    );
    check("[server]\nuser = '${NOBODY}'", "2:8: environment variable NOBODY is not set");
    check("listener = []", "1:12: `listener`: must have at least one");
    check("listener = 1", "1:12: expected tables, written [[listener]]; found the number 1");
    check("site = [1]\n", "1:9: `site`: expected a table, found the number 1");
}

#[test]
fn what_a_worker_may_take_has_its_range() {
    let pool = |keys: &str| format!("[pool.web]\ncommand = ['a']\n{keys}");
    check(&pool("nice = 20"), "3:8: `nice`: 20 is not within -20 to 19");
    check(
        &pool("umask = 27"),
        "3:9: `umask`: expected a file mode mask, found the number 27; write a string of octal \
         digits, such as \"0027\"",
    );
    check(
        &pool("limits = { memory = '1KiB' }"),
        "3:21: `memory`: 1KiB is less than 1MiB: nothing would start",
    );
    check(&pool("limits.files = 3"), "3:16: `files`: 3 is less than 16: nothing would serve");
    check(
        &pool("limits.stack = 3"),
        "3:8: unknown key `stack` in [pool.web.limits]; known: memory, files, core",
    );
}

#[test]
fn a_pool_can_run() {
    check("[pool.web]\nthreads = 1", "1:1: [pool.web] needs a `command` or `wsgi`");
    check("[pool.web]\ncommand = []", "2:11: `command`: must name a program");
    check("[pool.web]\ncommand = ['a', '']", "2:17: `command`: must not be empty");
    check(
        "[pool.web]\ncommand = ['a', 1]",
        "2:17: `command`: expected a string, found the number 1; write a string",
    );
    check(
        "[pool.'a b']\ncommand = ['a']",
        "1:7: \"a b\" is not a name: 1 to 32 letters, digits, `-` and `_`",
    );
    let long = "x".repeat(100);
    let message = format!("{long:?} is not a name: 1 to 32 letters, digits, `-` and `_`");
    let errors = errors(&format!("[pool.{long}]\ncommand = ['a']"));
    assert!(errors.contains(&message), "{errors}");
    check("[pool]\nweb = 1", "2:7: `web`: expected a table, found the number 1");
    let pool = |rest: &str| format!("[pool.web]\ncommand = ['a']\n{rest}");
    check(&pool("health = { interval = '1s' }"), "3:10: `health`: [pool.web.health] needs `path`");
    check(&pool("health = '/'"), "3:10: `health`: expected a table, found the string \"/\"");
    check(
        &pool("health = { path = '/', failures = 0 }"),
        "3:35: `health`: `failures`: 0 is not within 1 to 1000",
    );
    check(&pool("surge = 3"), "3:9: `surge`: 3 is more than `processes`, 2");
    check(&pool("min-ready = 3"), "3:13: `min-ready`: 3 is more than `processes`, 2");
    check(
        &pool("surge = 0\nmin-ready = 2"),
        "4:13: `min-ready`: must be less than `processes` where `surge` is 0: no worker could be \
         replaced",
    );
    check(
        &pool(&format!("reload-on-change = [{}]", "'a',".repeat(65))),
        "3:20: `reload-on-change`: there are more than 64 paths",
    );
    check(
        &pool("threads = 4\nconcurrency = 3"),
        "4:15: `concurrency`: 3 is less than `threads`, 4: threads would never have work",
    );
    check(&pool("threads = 0\nconcurrency = 3"), "3:11: `threads`: 0 is not within 1 to 10000");
    check(&pool("concurrency = 65537"), "3:15: `concurrency`: 65537 is not within 1 to 65536");
    check(
        &pool(&format!("warm-up = ['/{}', '/']", "x".repeat(16 * 1024 - 1))),
        "3:11: `warm-up`: the paths have more than 16384 bytes together",
    );
    check(&pool("processes = 0"), "3:13: `processes`: 0 is not within 1 to 1000");
    check(
        &pool("ready = 'http'\nwarm-up = []"),
        "4:11: `warm-up`: ready = \"http\" needs a path to ask for",
    );
    check(&pool("warm-up = ['/', 'x']"), "3:17: `warm-up`: \"x\" must begin with \"/\"");
    check(
        &pool("environment.LISTEN_PID = '1'"),
        "3:13: `environment`: LISTEN_PID is set by the supervisor itself",
    );
    check(
        &pool("environment.'A=B' = '1'"),
        "3:13: `environment`: \"A=B\" is not the name of a variable",
    );
    check(
        &pool("environment.A = 1"),
        "3:17: `environment`: `A`: expected a string, found a value that is no string",
    );
}

#[test]
fn a_pool_has_a_command_or_a_python_application() {
    check(
        "[pool.web]\ncommand = ['a']\nwsgi = 'site'",
        "3:8: a pool has a `command` or `wsgi`, not both",
    );
    for key in [
        "python = 'python3'",
        "python-path = []",
        "mount = '/'",
        "switch-interval = '5ms'",
        "interrupt-timeout = '0s'",
        "preload = []",
        "cost = []",
    ] {
        let name = key.split(' ').next().unwrap();
        let message = format!(
            "3:1: `{name}` is for a pool with `wsgi`; what a `command` needs stands in its words \
             and in `environment`"
        );
        check(&format!("[pool.web]\ncommand = ['a']\n{key}"), &message);
    }
    let pool = |rest: &str| format!("[pool.web]\nwsgi = 'site'\n{rest}");
    check(
        &pool("link = 'http'"),
        "3:8: `link`: a pool with `wsgi` has \"auto\" alone; for workers that serve HTTP start a \
         server of your own with `command`",
    );
    check(
        &pool("threads = 2\nconcurrency = 3"),
        "4:15: `concurrency`: 3 is more than `threads`, 2: with `wsgi` a thread runs one request \
         at a time; raise `threads`, and leave this out",
    );
    check(
        &pool("switch-interval = '2s'"),
        "3:19: `switch-interval`: \"2s\" is not within \"1ms\" to \"1s\"",
    );
    check(
        &pool("interrupt-timeout = '10s'"),
        "3:21: `interrupt-timeout`: \"10s\" is not shorter than `stuck-grace`, \"10s\": the worker \
         would be replaced before",
    );
    check(&pool("python = ''"), "3:10: `python`: must not be empty");
    check(&pool("mount = 'app'"), "3:9: `mount`: \"app\" must begin with \"/\"");
    check(&pool("cost = ['sql']"), "3:9: `cost`: \"sql\" is not a cost; known: db");
    check(
        "[pool.web]\nwsgi = 'site:'",
        "2:8: `wsgi`: \"\" is not the name of a callable, such as \"application\" or \
         \"site.application\"",
    );
    check(
        "[pool.web]\nwsgi = ['site']",
        "2:8: `wsgi`: expected a WSGI application, found an array; write \"module:callable\" or \
         the path of a script",
    );
}

#[test]
fn an_origin_has_servers_or_a_directory() {
    check("[origin.x]", "1:1: [origin.x] needs `servers` or a `directory`");
    check("[origin.x]\nservers = []", "2:11: `servers`: must name a server");
    check(
        "[origin.x]\nservers = ['http://a']\ndirectory = 'a'",
        "3:13: an origin has `servers` or a `directory`, not both",
    );
    check(
        "[origin.x]\ndirectory = 'a'\nretries = 2",
        "3:1: `retries` is for `servers`; a `directory` has none",
    );
    check(
        "[origin.x]\nservers = ['a.example']",
        "2:12: `servers`: \"a.example\" is not a server such as \"https://cdn.example.com\": it begins with http:// or https://",
    );
}

#[test]
fn a_route_has_one_action_and_refers_to_what_exists() {
    let route = |rest: &str| {
        format!(
            "[pool.web]\ncommand = ['a']\n[origin.cdn]\ndirectory = '/a'\n[[site]]\n[[site.route]]\npath = '/'\n{rest}"
        )
    };
    check(&route(""), "6:1: a route needs one of `pool`, `origin` and `redirect`");
    check(
        &route("pool = 'web'\norigin = 'cdn'"),
        "9:1: a route has one of `pool`, `origin` and `redirect`; this one has `pool`",
    );
    check(&route("pool = 'cdn'"), "8:8: there is no pool `cdn`; known: web");
    check(&route("origin = 'cnd'"), "8:10: there is no origin `cnd`; did you mean `cdn`?");
    check(&route("pool = 'web'\nstatus = 301"), "9:1: `status` is for a route with `redirect`");
    check(
        &route("origin = 'cdn'\nrequest-timeout = '1s'"),
        "9:1: `request-timeout` is for a route with `pool`",
    );
    check(&route("origin = 'cdn'\nmax-share = 0.5"), "9:1: `max-share` is for a route with `pool`");
    for share in ["0.0", "1.5", "50"] {
        let message = format!(
            "9:13: `max-share`: expected a share such as 0.5, more than 0 and at most 1; \
             found the number {share}"
        );
        check(&route(&format!("pool = 'web'\nmax-share = {share}")), &message);
    }
    check(
        &route("pool = 'web'\nstrip-prefix = true"),
        "9:1: `strip-prefix` is for a route with `origin`",
    );
    check(
        &route("redirect = '/a'\nstatus = 303"),
        "9:10: `status`: 303 is not 301, 302, 307 or 308",
    );
    check(
        &route("redirect = 'a'"),
        "8:12: `redirect`: \"a\" is not a URL such as \"https://example.com/\"",
    );
    check(
        &route("pool = 'web'\nmethods = ['GET', 'post']"),
        "9:19: `methods`: \"post\" is written \"POST\"",
    );
    check(
        &route("pool = 'web'\nmethods = ['G T']"),
        "9:12: `methods`: \"G T\" is not a method such as \"GET\"",
    );
    check("[[site]]", "1:1: a site needs a route, written [[site.route]]");
    check("[[site]]\n[[site.route]]\nredirect = '/a'", "2:1: [site.route] needs `path`");
}

#[test]
fn nothing_is_said_twice() {
    let site = |head: &str, routes: &str| format!("[[site]]\n{head}\nroute = [{routes}]\n");
    let one = "{ path = '/', redirect = '/x' }";
    check(
        &format!("{}{}", site("hosts = ['a.b']", one), site("hosts = ['c', 'A.b']", one)),
        "5:15: `hosts`: \"a.b\" belongs to the site at a.toml:2:10",
    );
    check(
        &format!("{}{}", site("", one), site("", one)),
        "4:1: a site without hosts stands at a.toml:1:1 already",
    );
    check(
        &site(
            "",
            "{ path = '/', redirect = '/x' }, { path = '/', methods = ['GET'], redirect = '/y' }",
        ),
        "3:52: `path`: the route at a.toml:3:19 has this path and method already",
    );
    check(
        &site(
            "",
            "{ path = '/', methods = ['GET', 'PUT'], redirect = '/x' }, { path = '/', methods = ['PUT'], redirect = '/y' }",
        ),
        "3:78: `path`: the route at a.toml:3:19 has this path and method already",
    );
    let listeners = |second: &str| {
        format!("[[listener]]\nname = 'p'\naddress = '127.0.0.1:80'\n[[listener]]\n{second}\n")
    };
    check(
        &listeners("name = 'p'\naddress = '127.0.0.1:81'"),
        "5:8: `name`: the listener at a.toml:2:8 is called \"p\" as well",
    );
    check(
        &listeners("address = '127.0.0.1:80'"),
        "5:11: `address`: 127.0.0.1:80 is taken by the listener at a.toml:3:11",
    );
    check(
        &listeners("name = 'status'\naddress = '127.0.0.1:81'"),
        "5:8: `name`: `status` is the name of the status page's own listener",
    );
    check(
        "[[listener]]\naddress = '127.0.0.1:9180'",
        "2:11: `address`: 127.0.0.1:9180 is taken by a default listener",
    );
    check(
        &format!(
            "{}{}",
            listeners("name = 'q'\naddress = '127.0.0.1:81'"),
            site("listeners = ['p', 'r']", one)
        ),
        "8:19: there is no listener `r`; did you mean `p`?",
    );
}

#[test]
fn what_only_looks_repeated_is_accepted() {
    let route = "[[site.route]]\npath = '/'\nredirect = '/x'\n";
    let listeners = "[[listener]]\nname = 'p'\naddress = '127.0.0.1:0'\n\
                     [[listener]]\nname = 'q'\naddress = '127.0.0.1:0'\n";
    let by_listener = format!(
        "{listeners}[[site]]\nlisteners = ['p']\n{route}[[site]]\nlisteners = ['q']\n{route}"
    );
    assert_eq!(super::parse_text(&by_listener).sites.len(), 2);
    let by_method = format!(
        "[[site]]\n[[site.route]]\npath = '/'\nmethods = ['PUT']\nredirect = '/y'\n{route}"
    );
    assert_eq!(super::parse_text(&by_method).sites[0].routes.len(), 2);
    let exact = format!("[[site]]\n{route}[[site.route]]\npath = '=/'\nredirect = '/y'\n");
    assert_eq!(super::parse_text(&exact).sites[0].routes.len(), 2);
}

#[test]
fn paths_of_sockets_fit_into_the_kernels_structure() {
    let long = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    let pool = "[pool.a]\ncommand = ['a']\n";
    let runtime = |bytes: usize| format!("{pool}[server]\nruntime-dir = '{}'\n", long(bytes));
    assert_eq!(super::parse_text(&runtime(66)).pools.len(), 1);
    check(
        &runtime(67),
        &format!(
            "4:15: `runtime-dir`: {} has 67 bytes; 66 is the most that leaves room for the names of sockets",
            long(67)
        ),
    );
    check(
        &format!("[[listener]]\naddress = 'unix:{}'", long(108)),
        &format!(
            "2:11: `address`: {} has 108 bytes; the path of a socket has at most 107",
            long(108)
        ),
    );
    check(
        &format!("[server]\ncontrol-socket = '{}'", long(108)),
        &format!(
            "2:18: `control-socket`: {} has 108 bytes; the path of a socket has at most 107",
            long(108)
        ),
    );
    check(
        &format!("[status]\naddress = 'unix:{}'", long(108)),
        &format!(
            "2:11: `address`: {} has 108 bytes; the path of a socket has at most 107",
            long(108)
        ),
    );
}

#[test]
fn a_mistake_in_an_inherited_value_is_told_once() {
    let text = "[keepalive]\nidle-timeout = 5\nx = 1\n[[listener]]\naddress = '[::]:1'\n[[listener]]\naddress = '[::]:2'\n";
    assert_eq!(
        errors(text),
        "a.toml:2:16: `idle-timeout`: expected a duration, found the number 5; write a string with a unit, such as \"5s\"\n\
         a.toml:3:1: unknown key `x` in [keepalive]; known: enabled, idle-timeout, max-requests"
    );
}

/// One error, given without the file's name.
#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(errors(text), format!("a.toml:{expected}"), "text:\n{text}");
}
