//! Names the known word that an unknown one was probably meant to be.

/// A sentence that helps whoever wrote `wrong` where one of `known` was expected.
///
/// The nearest word when there is a near one, else all of them.
pub(crate) fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let distance = |word: &&str| strsim::osa_distance(wrong, word);
    let near = known.iter().copied().min_by_key(distance);
    match near {
        None => "there are none".to_owned(),
        Some(near) if distance(&near) <= 1 + wrong.chars().count() / 3 => {
            format!("did you mean `{near}`?")
        }
        Some(_) => format!("known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_and_all_of_them_when_none_is_near() {
        let known = ["threads", "max-connections", "user"];
        assert_eq!(hint("thread", known), "did you mean `threads`?");
        assert_eq!(hint("max_connection", known), "did you mean `max-connections`?");
        assert_eq!(hint("colour", known), "known: threads, max-connections, user");
        assert_eq!(hint("web", []), "there are none");
    }
}
