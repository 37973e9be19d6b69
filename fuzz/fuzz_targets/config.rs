//! Configuration files: no panic, and what is printed is read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostler_conf::Config;

fuzz_target!(|input: &str| {
    let path = std::path::Path::new("/fuzz/ostler.toml");
    let Ok(config) = Config::parse(input, path) else { return };
    let again = Config::parse(&config.to_toml(), path).expect("what we print is valid");
    assert_eq!(again, config);
});
