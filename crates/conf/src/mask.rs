//! What of a configuration may be secret, and is not shown to those who only read the status.
//!
//! Secret are: what comes from the environment (`effective` knows that), every variable of a
//! pool, the arguments of its program, the user of a URL, and what has a name like a secret. The
//! words of such names are in [`SECRET_WORDS`]. Too much is masked rather than too little.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::source::Place;
use crate::tree::{Data, Node, TableNode};
use crate::value::key;

/// What stands in place of a secret, as TOML.
pub(crate) const MASK: &str = "\"***\"";

/// A name that has one of these in it, whatever else, is that of a secret. Compared without what
/// stands between words.
const SECRET_WORDS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "signature",
    "session",
    "cookie",
    "authorization",
];

/// A name of which one of these is a whole word is that of a secret.
const SECRET_WHOLE_WORDS: [&str; 4] = ["key", "auth", "sig", "pass"];

/// What stands before the name in a text such as `/a?token=b&c=d`.
const BEFORE_NAME: [char; 9] = ['&', ';', '?', '/', '#', '=', ' ', ',', '"'];

/// What errors say in place of values that may be secret, by where those stand.
pub(crate) fn hidden(root: &TableNode) -> BTreeMap<Place, String> {
    let mut hidden = BTreeMap::new();
    hide_table(root, false, &mut hidden);
    hidden
}

fn hide_table(table: &TableNode, is_secret: bool, hidden: &mut BTreeMap<Place, String>) {
    let is_pool = table.path.starts_with("pool.");
    for (name, entry) in &table.entries {
        let is_secret = is_secret || is_secret_name(name) || (is_pool && name == "environment");
        hide(&entry.value, is_secret, hidden);
    }
}

fn hide(node: &Node, is_secret: bool, hidden: &mut BTreeMap<Place, String>) {
    match &node.data {
        Data::Table(table) => hide_table(table, is_secret, hidden),
        Data::Array(elements) => {
            for element in elements {
                hide(element, is_secret, hidden);
            }
        }
        Data::Text(_) | Data::Integer(_) | Data::Boolean(_) | Data::Float(_) | Data::Datetime => {}
    }
    let shown = node.made_from().or_else(|| match &node.data {
        Data::Table(_) | Data::Array(_) => None,
        Data::Text(text) if !is_secret && within(text) == *text => None,
        Data::Text(_) => Some("a string with a secret".to_owned()),
        Data::Integer(_) | Data::Boolean(_) | Data::Float(_) | Data::Datetime => {
            is_secret.then(|| "a value that is no string".to_owned())
        }
    });
    hidden.extend(shown.map(|shown| (node.at, shown)));
}

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
        _ => strings(value),
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
    let parsed = DeTable::parse(&text).ok();
    let words = parsed.and_then(|table| {
        let words = table.get_ref().get("command")?.get_ref().as_array()?.clone();
        let program = words.first()?.get_ref().as_str()?.to_owned();
        Some((program, words.len() - 1))
    });
    let Some((program, arguments)) = words else { return format!("[{MASK}]") };
    let arguments = if arguments == 0 { String::new() } else { format!(", {MASK}") };
    format!("[{}{arguments}]", strings(&crate::value::Value::print(&program)))
}

/// A value as TOML, with each string in it masked on its own.
fn strings(value: &str) -> String {
    const HEAD: &str = "v = ";
    // What a secret stands behind, or an escape that may be one of these. Most values have none,
    // and the thousands of a long configuration are not parsed for nothing.
    if !["=", "//", "\\"].iter().any(|mark| value.contains(mark)) {
        return value.to_owned();
    }
    let text = format!("{HEAD}{value}");
    let Ok(table) = DeTable::parse(&text) else { return MASK.to_owned() };
    let mut masked = Vec::new();
    for value in table.get_ref().values() {
        mask_strings(value, &mut masked);
    }
    masked.sort_by_key(|(span, _)| span.start);
    let mut shown = text.clone();
    for (span, masked) in masked.into_iter().rev() {
        shown.replace_range(span, &masked);
    }
    shown[HEAD.len()..].to_owned()
}

/// What to put in place of what in the text `value` was read from.
fn mask_strings(value: &Spanned<DeValue<'_>>, masked: &mut Vec<(Range<usize>, String)>) {
    match value.get_ref() {
        DeValue::String(text) => {
            let without = within(text);
            if without != *text {
                masked.push((value.span(), toml::Value::String(without).to_string()));
            }
        }
        DeValue::Array(elements) => {
            for element in elements {
                mask_strings(element, masked);
            }
        }
        DeValue::Table(table) => {
            for (name, value) in table {
                if is_secret_name(name.get_ref()) {
                    masked.push((value.span(), MASK.to_owned()));
                } else {
                    mask_strings(value, masked);
                }
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// A text without the users of URLs, and without what follows the name of a secret and a `=`.
fn within(text: &str) -> String {
    let mut secrets = named_values(text);
    secrets.extend(users(text));
    secrets.sort_by_key(|span| span.start);
    let mut masked = String::with_capacity(text.len());
    let mut shown = 0;
    for Range { start, end } in secrets {
        if shown <= start {
            masked.extend([&text[shown..start], "***"]);
        }
        shown = shown.max(end);
    }
    masked + &text[shown..]
}

/// Where users and passwords are, as in `http://user:password@host/`.
fn users(text: &str) -> Vec<Range<usize>> {
    let spans = text.match_indices("//").filter_map(|(at, slashes)| {
        let start = at + slashes.len();
        let authority = text[start..].split(['/', '?', '#']).next()?;
        Some(start..start + authority.rfind('@')?)
    });
    spans.collect()
}

/// Where values of secret names are, as in `token=abc`: up to a `&`, a `;` or the end.
fn named_values(text: &str) -> Vec<Range<usize>> {
    let spans = text.match_indices('=').filter_map(|(at, equals)| {
        let name = text[..at].rsplit(BEFORE_NAME).next()?;
        let start = at + equals.len();
        let value = text[start..].split(['&', ';']).next()?;
        is_secret_name(name).then_some(start..start + value.len())
    });
    spans.collect()
}

fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let joined = lower.replace(['-', '_'], "");
    let is_word = |word: &str| {
        let word = word.trim_end_matches(|last: char| last.is_ascii_digit());
        SECRET_WHOLE_WORDS.contains(&word) || word.ends_with("pass")
    };
    SECRET_WORDS.iter().any(|word| joined.contains(word))
        || lower.split(|end: char| !end.is_ascii_alphanumeric()).any(is_word)
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
    fn a_secret_behind_an_escape_is_masked() {
        for value in [
            r#""/?token\u003dhunter2""#,
            r#""\u002f\u002fu:hunter2@h""#,
            r#"["/b", "/?token\U0000003dhunter2"]"#,
            "{ token = \"hunter2\" }",
        ] {
            let shown = super::strings(value);
            assert!(!shown.contains(SECRET) && shown.contains("***"), "{value} is {shown}");
        }
        assert_eq!(super::strings(r#"["/a", "b"]"#), r#"["/a", "b"]"#);
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
        for name in [
            "password",
            "DB_PASSWORD",
            "x-api-key",
            "API_KEY",
            "AccessToken",
            "apikey",
            "pwd",
            "key",
            "secret-key",
            "key2",
            "X-Amz-Signature",
            "sig",
            "auth",
            "db_pass",
            "user[password]",
            "SessionId",
        ] {
            assert!(super::is_secret_name(name), "{name}");
            assert_eq!(super::value("any", name, "1", None), super::MASK);
        }
        for name in ["keepalive", "max-requests", "monkey", "author", "design", "passenger"] {
            assert!(!super::is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_secret_of_any_characters_is_masked_wherever_it_stands() {
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % below
        };
        let letters: Vec<char> = "ab1/=,#[]'\"\\ :@?!$(){}\u{e9}".chars().collect();
        for _ in 0..2000 {
            let mut noise = |without: &[char]| -> String {
                let all: Vec<char> =
                    letters.iter().copied().filter(|it| !without.contains(it)).collect();
                (0..next(8)).map(|_| all[next(all.len())]).collect()
            };
            let value = format!("{}{SECRET}{}", noise(&[]), noise(&[]));
            let user = format!("{}{SECRET}{}", noise(&['/', '?', '#']), noise(&['/', '?', '#']));
            let (before, after) = (noise(&[]), noise(&[]));
            for text in [
                format!("/{before}?token={value}"),
                format!("/?a={before}&Secret-Key={value}&b={after}"),
                format!("/?a=1;user[pass]={value};b={after}"),
                format!("https://u:{user}@127.0.0.1/{after}"),
                format!("//{user}@h"),
            ] {
                let array = vec!["/b".to_owned(), text.clone(), after.clone()];
                let shown = super::strings(&crate::value::Value::print(&array));
                assert!(!shown.contains(SECRET), "{text:?} is {shown}");
                assert!(shown.starts_with("[\"/b\", "), "{shown}");
            }
        }
    }

    #[test]
    fn errors_do_not_quote_what_may_be_secret() {
        let pool = "[pool.a]\ncommand = ['a']\n";
        for (text, expected) in [
            (
                format!("{pool}processes = '$PASS'"),
                "`processes`: expected a whole number, found a string made from ${PASS}",
            ),
            (
                format!("{pool}warm-up = '$PASS'"),
                "`warm-up`: expected an array, found a string made from ${PASS}",
            ),
            (format!("{pool}warm-up = ['x$PASS']"), "made from ${PASS}"),
            (
                format!("{pool}health = '$PASS'"),
                "expected a table, found a string made from ${PASS}",
            ),
            (
                format!("{pool}health = {{ path = '$PASS' }}"),
                "a string made from ${PASS} is not accepted here",
            ),
            (
                format!("{pool}health = {{ path = '/', interval = 'x$PASS' }}"),
                "a string made from ${PASS} is not a duration",
            ),
            (
                format!("{pool}environment = 'hunter2'"),
                "expected a table, found a string with a secret",
            ),
            (
                format!("{pool}environment = {{ A = 4711 }}"),
                "expected a string, found a value that is no string",
            ),
            ("pool = '${PASS}'".to_owned(), "expected a table, found a string made from ${PASS}"),
            ("site = '${PASS}'".to_owned(), "found a string made from ${PASS}"),
            (
                "server.drain-timeout = '${PASS}'".to_owned(),
                "a string made from ${PASS} is not a duration",
            ),
            ("status.allow = ['${PASS}']".to_owned(), "made from ${PASS}"),
            (
                "listener = [{ address = '${PASS}' }]".to_owned(),
                "a string made from ${PASS} is not",
            ),
            (
                "[[site]]\nroute = [{ path = '/', pool = '${PASS}' }]".to_owned(),
                "a string made from ${PASS}",
            ),
            (
                "[[site]]\nroute = [{ path = '/', redirect = '${PASS}' }]".to_owned(),
                "a string made from ${PASS}",
            ),
            (
                "[[site]]\nroute = [{ path = '/', redirect = 'x://u:hunter2@h' }]".to_owned(),
                "a string with a secret",
            ),
            ("include = ['${PASS}']".to_owned(), "`include`: (from ${PASS}) cannot be read"),
            (
                "include = '${PASS}'".to_owned(),
                "expected an array, found a string made from ${PASS}",
            ),
        ] {
            check_error(&text, expected);
        }
    }

    #[test]
    fn the_path_of_an_included_file_is_shown_without_the_text_of_variables() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join(SECRET);
        std::fs::create_dir(&secret).unwrap();
        std::fs::write(secret.join("b.toml"), "include = ['c.toml']\nserver.threads = 3").unwrap();
        std::fs::write(secret.join("c.toml"), "server.user = 'x'").unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "include = ['${PASS}/b*.toml']").unwrap();
        let surroundings = Surroundings {
            variables: [("PASS".to_owned(), SECRET.to_owned())].into(),
            ..Surroundings::here()
        };
        let masked = load(&path, &surroundings).unwrap().masked();
        assert!(masked.contains("(from ${PASS}):2"), "{masked}");
        assert!(masked.contains("# c.toml:1"), "{masked}");
        assert!(!masked.contains(SECRET), "{masked}");
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let text = text.replace("$PASS", "${PASS}");
        let surroundings = Surroundings {
            variables: [("PASS".to_owned(), SECRET.to_owned())].into(),
            ..Surroundings::here()
        };
        let path = std::path::Path::new("/nonexistent/a.toml");
        let errors = crate::load::parse(&text, path, &surroundings).unwrap_err().to_string();
        assert!(errors.contains(expected), "no {expected}\nin {errors}");
        assert!(!errors.contains(SECRET) && !errors.contains("4711"), "{errors}");
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
