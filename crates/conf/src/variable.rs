//! `${NAME}` in a string: replaced from the environment; `$${` stands for `${`.

use std::collections::BTreeMap;

/// Replaces every `${NAME}` in `text`.
///
/// # Errors
///
/// Says which name is not set, or that a `${` has no name or no end.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = &reference[2..];
            continue;
        }
        expanded.push_str(before);
        let (name, after) = reference[2..]
            .split_once('}')
            .ok_or("`${` has no `}` after it; a literal `${` is written `$${`")?;
        if !is_name(name) {
            return Err(format!(
                "`${{{name}}}` is not the name of a variable; a literal `${{` is written `$${{`"
            ));
        }
        let value = variables.get(name);
        expanded.push_str(value.ok_or_else(|| format!("environment variable {name} is not set"))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The names of all `${NAME}` in `text`.
pub(crate) fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        rest = &reference[2..];
        if let Some((name, _)) = rest.split_once('}')
            && !before.ends_with('$')
            && is_name(name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// Writes `text` such that [`expand`] gives it back.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    name.bytes().all(word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_a_doubled_dollar_is_literal() {
        check("plain $HOME {x}", Ok("plain $HOME {x}"));
        check("${A}", Ok("1"));
        check("x${A}y${B_2}z", Ok("x1ytwo wordsz"));
        check("$${A}", Ok("${A}"));
        check("$$${A}", Ok("$${A}"));
        check("$${A}${A}", Ok("${A}1"));
        check("${MISSING}", Err("environment variable MISSING is not set"));
        check("${A", Err("`${` has no `}` after it; a literal `${` is written `$${`"));
        check("${}", Err("`${}` is not the name of a variable; a literal `${` is written `$${`"));
        check(
            "${1x}",
            Err("`${1x}` is not the name of a variable; a literal `${` is written `$${`"),
        );
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let variables = [("A", "1"), ("B_2", "two words")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expanded = expand(text, &BTreeMap::from(variables));
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(expanded, expected, "text: {text:?}");
    }

    #[test]
    fn names_are_those_that_are_replaced() {
        assert_eq!(names("x${A}y${B_2}$${C}${1}${"), ["A", "B_2"]);
        assert!(names("$${A} plain").is_empty());
    }

    #[test]
    fn an_escaped_text_expands_to_itself() {
        for text in ["${A}", "$${A}", "$$", "a$", "${", "$${", "$$${x}${"] {
            assert_eq!(expand(&escape(text), &BTreeMap::new()).as_deref(), Ok(text));
        }
    }
}
