//! What of a configuration may be secret, and is not shown to those who only read the status.
//!
//! Secret are: what comes from the environment (`effective` knows that), every variable of a
//! pool, the arguments of its program, the user of a URL, and what has a name like a secret. The
//! words of such names are in [`SECRET_WORDS`]. Too much is masked rather than too little.

use crate::tree::Node;
use crate::value::key;

/// What stands in place of a secret, as TOML.
pub(crate) const MASK: &str = "\"***\"";

/// A name that has one of these in it, whatever else, is that of a secret.
const SECRET_WORDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "credential", "api-key", "private-key", "passphrase"];

/// What ends a name or a value in a text such as `/a?token=b&c=d`.
const ENDS: [char; 12] = ['&', ';', '?', '/', '"', '\'', ' ', ',', '#', '=', '[', ']'];

/// The value of `name` in the table `path`, as TOML, without what may be secret.
///
/// `node` is what was written, where something was.
pub(crate) fn value(path: &str, name: &str, value: &str, node: Option<&Node>) -> String {
    let is_pool = path.starts_with("pool.");
    if is_secret_name(name) {
        return MASK.to_owned();
    }
    match name {
        "environment" if is_pool => environment(node),
        "command" if is_pool => command(value),
        _ => within(value),
    }
}

/// The names of the variables.
fn environment(node: Option<&Node>) -> String {
    let names = node.and_then(Node::as_table).into_iter().flat_map(|table| table.entries.keys());
    let pairs: Vec<String> = names.map(|name| format!("{} = {MASK}", key(name))).collect();
    if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
}

/// The program, and that there are arguments.
fn command(value: &str) -> String {
    let text = format!("command = {value}");
    let parsed = toml::de::DeTable::parse(&text).ok();
    let words = parsed.and_then(|table| {
        let words = table.get_ref().get("command")?.get_ref().as_array()?.clone();
        let program = words.first()?.get_ref().as_str()?.to_owned();
        Some((program, words.len() - 1))
    });
    let Some((program, arguments)) = words else { return format!("[{MASK}]") };
    let arguments = if arguments == 0 { String::new() } else { format!(", {MASK}") };
    format!("[{}{arguments}]", within(&crate::value::Value::print(&program)))
}

/// A value without the users of URLs, and without what follows the name of a secret and a `=`.
fn within(value: &str) -> String {
    named_values(&users(value))
}

/// `http://user:password@host/` becomes `http://***@host/`.
fn users(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        masked.push_str(before);
        let end = after.find(['/', '?', '#', '"', '\'', ' ', ',']).unwrap_or(after.len());
        let (authority, behind) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => masked.extend(["***@", host]),
            None => masked.push_str(authority),
        }
        rest = behind;
    }
    masked + rest
}

/// `token=abc` becomes `token=***`.
fn named_values(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        masked.push_str(before);
        masked.push('=');
        let name = before.rsplit(ENDS).next().unwrap_or_default();
        rest = after;
        if is_secret_name(name) {
            masked.push_str("***");
            rest = &after[after.find(ENDS).unwrap_or(after.len())..];
        }
    }
    masked + rest
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use crate::load::load;
    use crate::surroundings::Surroundings;

    const SECRET: &str = "hunter2";

    #[test]
    fn whatever_may_be_secret_is_masked_and_says_where_it_is_from() {
        check(
            "[pool.a]\ncommand = ['/bin/a', '--key', 'hunter2']",
            "command = [\"/bin/a\", \"***\"]",
        );
        check("[pool.a]\ncommand = ['/bin/a']", "command = [\"/bin/a\"]");
        check(
            "[pool.a]\ncommand = ['a']\nenvironment = { A = 'hunter2', 'b c' = 'hunter2' }",
            "environment = { A = \"***\", \"b c\" = \"***\" }",
        );
        check(
            "[pool.a]\ncommand = ['a']\n[pool.a.environment]\nA = '${PASS}'",
            "environment = { A = \"***\" }",
        );
        check("server.user = 'x${PASS}'", "user = \"***\"");
        check("server.user = 'x${PASS}'", "a.toml:1, ${PASS}");
        check("status.allow = ['127.0.0.1', '${NET}']", "allow = \"***\"");
        check(
            "[[site]]\nroute = [{ path = '/', redirect = 'https://u:hunter2@h/x' }]",
            "redirect = \"https://***@h/x\"",
        );
        check(
            "[[site]]\nroute = [{ path = '/', redirect = '/x?a=b&Api_Key=hunter2&c=d' }]",
            "redirect = \"/x?a=b&Api_Key=***&c=d\"",
        );
        check(
            "[pool.a]\ncommand = ['a']\nwarm-up = ['/?token=hunter2', '/b']",
            "warm-up = [\"/?token=***\", \"/b\"]",
        );
        check(
            "[pool.a]\ncommand = ['a']\nhealth = { path = '/?token=hunter2' }",
            "path = \"/?token=***\"",
        );
    }

    #[test]
    fn what_is_no_secret_is_shown_with_its_source() {
        check("server.threads = 3", "threads = 3");
        check("server.threads = 3", "/a.toml:1\n");
        check("server.user = '$${PASS}'", "user = \"$${PASS}\"");
        check("", "# default: ");
    }

    #[test]
    fn names_of_secrets_are_known_in_any_spelling() {
        for name in ["password", "DB_PASSWORD", "x-api-key", "API_KEY", "AccessToken"] {
            assert!(super::is_secret_name(name), "{name}");
            assert_eq!(super::value("any", name, "1", None), super::MASK);
        }
        assert!(!super::is_secret_name("keepalive") && !super::is_secret_name("max-requests"));
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let surroundings = Surroundings {
            variables: [("PASS", SECRET), ("NET", "10.9.8.7")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Surroundings::here()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        let loaded = load(&path, &surroundings).unwrap();
        let masked = loaded.masked();
        assert!(masked.contains(expected), "no {expected}\nin {masked}");
        assert!(!masked.contains(SECRET) && !masked.contains("10.9.8.7"), "{masked}");
    }
}
