//! Passwords and session tokens: what is random or must not be read back.

use std::fmt::Write;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("password not hashed")]
pub(crate) struct HashError(#[source] Error);

/// Hashes a password with a random salt: Argon2id, in the text form that names its settings.
pub(crate) fn hash(password: &str) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(HashError)?;
    Ok(hash.to_string())
}

/// Whether `password` is the one that `hash` was made from.
pub(crate) fn is_right(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// A session token that nobody can guess: 32 random bytes in hexadecimal.
pub(crate) fn token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string grows");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_recognised_and_cannot_be_read_from_its_hash() {
        let hash = hash("oats and hay").unwrap();
        assert!(hash.starts_with("$argon2id$") && !hash.contains("oats"));
        assert!(is_right("oats and hay", &hash));
        assert!(!is_right("oats and hay ", &hash));
        assert!(!is_right("oats and hay", "no hash"));
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        let tokens = [token().unwrap(), token().unwrap()];
        assert_eq!(tokens[0].len(), 64);
        assert_ne!(tokens[0], tokens[1]);
    }
}
