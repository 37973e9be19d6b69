//! One version of the configuration: what was read, and the texts that proxy processes get of it.

use ostler_conf::{Config, Loaded};

use crate::start;

/// A configuration that is, or may come, in force.
#[derive(Debug)]
pub(crate) struct ConfigVersion {
    pub(crate) number: u64,
    pub(crate) loaded: Loaded,
    /// When it was read, in milliseconds since 1970.
    pub(crate) loaded_unix_ms: u64,
    /// What the proxy works by.
    pub(crate) for_proxy: String,
    /// What the proxy shows: each value with its source, secrets masked.
    pub(crate) for_operators: String,
}

impl ConfigVersion {
    /// Writes the texts now, and only once: those of ten thousand routes took a fifth of a second
    /// (4.6 MB), which must not come on top when a proxy process has crashed.
    pub(crate) fn new(number: u64, loaded: Loaded) -> Self {
        Self {
            number,
            loaded_unix_ms: start::unix_ms(),
            for_proxy: without_secrets(&loaded.config).to_toml(),
            for_operators: loaded.masked(),
            loaded,
        }
    }
}

/// Returns a configuration without what only workers need, which may be secret.
fn without_secrets(config: &Config) -> Config {
    let mut config = config.clone();
    for pool in config.pools.values_mut() {
        pool.environment.clear();
        pool.command.truncate(1);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_process_is_not_told_the_secrets_of_workers() {
        let text = "[pool.web]\ncommand = ['/bin/a', '--key=hunter2']\n\
                    environment = { PASSWORD = 'hunter2' }\nthreads = 3\n";
        let config = Config::parse(text, std::path::Path::new("/etc/ostler.toml")).unwrap();
        let sent = without_secrets(&config).to_toml();
        assert!(!sent.contains("hunter2") && !sent.contains("PASSWORD"), "{sent}");
        let received = Config::parse(&sent, std::path::Path::new("/elsewhere")).unwrap();
        assert_eq!(received.pools["web"].command, ["/bin/a"]);
        assert_eq!(received.pools["web"].threads, 3);
    }
}
