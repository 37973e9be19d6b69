//! What a valid configuration may still not ask of this supervisor. Pure.

use ostler_conf::Config;

/// Refuses to run anything as root that the configuration does not say shall.
pub(crate) fn check_root(config: &Config, is_root: bool, allow_root: bool) -> Result<(), String> {
    if !is_root || allow_root {
        return Ok(());
    }
    let mut missing = Vec::new();
    if config.server.user.is_none() {
        missing.push("server.user".to_owned());
    }
    let pools = config.pools.iter().filter(|(_, pool)| pool.user.is_none());
    missing.extend(pools.map(|(name, _)| format!("pool.{name}.user")));
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "started as root, and {} is not set: name a user there (\"root\" if you mean it), or use \
         --allow-root",
        missing.join(", ")
    ))
}

/// Returns the keys of users and groups that are not changed to, because this process is not root.
pub(crate) fn users_without_effect(config: &Config) -> Vec<String> {
    let server = config.server.user.iter().map(|_| "server.user".to_owned());
    let pools = config.pools.iter().flat_map(|(name, pool)| {
        let user = pool.user.iter().map(move |_| format!("pool.{name}.user"));
        user.chain(pool.group.iter().map(move |_| format!("pool.{name}.group")))
    });
    server.chain(pools).collect()
}

/// Refuses what a running supervisor cannot change.
pub(crate) fn check_restart(old: &Config, new: &Config) -> Result<(), String> {
    let (old_status, new_status) = (&old.status, &new.status);
    let (old, new) = (&old.server, &new.server);
    let changed: Vec<&str> = [
        ("server.threads", old.threads != new.threads),
        ("server.runtime-dir", old.runtime_dir != new.runtime_dir),
        ("server.control-socket", old.control_socket != new.control_socket),
        ("server.user", old.user != new.user),
        ("status.history-size", old_status.history_size != new_status.history_size),
        ("status.history-file", old_status.history_file != new_status.history_file),
    ]
    .into_iter()
    .filter_map(|(key, is_changed)| is_changed.then_some(key))
    .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!("{} cannot change in a reload: restart Ostler", changed.join(", ")))
}

/// Refuses to take away every listener or every pool, which is more likely a mistake.
pub(crate) fn check_force(old: &Config, new: &Config, force: bool) -> Result<(), String> {
    let keeps_listener =
        old.listeners.iter().any(|old| new.listeners.iter().any(|new| new.address == old.address));
    let keeps_pool = old.pools.keys().any(|name| new.pools.contains_key(name));
    let what = match (keeps_listener, keeps_pool) {
        _ if force => return Ok(()),
        (false, _) if !old.listeners.is_empty() => "close every listener",
        (_, false) if !old.pools.is_empty() => "remove every pool",
        _ => return Ok(()),
    };
    Err(format!("this would {what}: use --force if you mean it"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const POOL: &str = "[pool.web]\ncommand = ['a']\n";

    #[test]
    fn as_root_every_user_must_be_named_or_allowed() {
        let named = "server.user = 'www'\n[pool.web]\ncommand = ['a']\nuser = 'root'\n";
        check_users(named, true, false, None);
        check_users(POOL, false, false, None);
        check_users(POOL, true, true, None);
        check_users(POOL, true, false, Some("server.user, pool.web.user"));
        check_users("server.user = 'www'", true, false, None);
        check_users("", true, false, Some("server.user"));
    }

    #[test]
    fn users_without_effect_are_all_named() {
        let pool = "[pool.web]\ncommand = ['a']\nuser = 'site'\ngroup = 'www'\n";
        let config = config(&format!("server.user = 'www'\n{pool}"));
        let expected = ["server.user", "pool.web.user", "pool.web.group"];
        assert_eq!(users_without_effect(&config), expected);
        assert!(users_without_effect(&self::config(POOL)).is_empty());
    }

    #[test]
    fn what_needs_a_restart_is_refused_by_name() {
        let old = config("server.threads = 1");
        assert_eq!(check_restart(&old, &config("server.threads = 1")), Ok(()));
        let error = check_restart(&old, &config("server = { threads = 2, user = 'www' }"));
        let text = "server.threads, server.user cannot change in a reload: restart Ostler";
        assert_eq!(error, Err(text.to_owned()));
    }

    #[test]
    fn taking_everything_away_needs_force() {
        let first = "[[listener]]\naddress = '127.0.0.1:1'\n";
        let other = "[[listener]]\naddress = '127.0.0.1:2'\n";
        let api = "[pool.api]\ncommand = ['a']\n";
        check_forced(&[first], &[first], None);
        check_forced(&[first], &[first, other], None);
        check_forced(&[first], &[other], Some("close every listener"));
        check_forced(&[first, POOL], &[first, POOL, api], None);
        check_forced(&[first, POOL], &[first, api], Some("remove every pool"));
        check_forced(&[first], &[first, POOL], None);
    }

    #[track_caller]
    fn check_users(toml: &str, is_root: bool, allow_root: bool, missing: Option<&str>) {
        let result = check_root(&config(toml), is_root, allow_root);
        let found = result.as_ref().err().map(String::as_str);
        match (missing, found) {
            (None, None) => {}
            (Some(missing), Some(found)) => {
                assert!(found.contains(&format!("and {missing} is not set")), "{found}");
            }
            _ => panic!("expected {missing:?}, found {found:?}"),
        }
    }

    #[track_caller]
    fn check_forced(old: &[&str], new: &[&str], expected: Option<&str>) {
        let (old, new) = (config(&old.concat()), config(&new.concat()));
        let result = check_force(&old, &new, false);
        let expected =
            expected.map(|what| format!("this would {what}: use --force if you mean it"));
        assert_eq!(result.err(), expected);
        assert_eq!(check_force(&old, &new, true), Ok(()));
    }

    fn config(toml: &str) -> Config {
        Config::parse(toml, Path::new("/etc/ostler.toml")).unwrap()
    }
}
