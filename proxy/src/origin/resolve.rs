//! Finds the addresses of an origin's servers.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use ostler_conf::ServerUrl;
use pingora_core::{Error, ErrorType, Result};
use pingora_load_balancing::Backend;
use pingora_load_balancing::discovery::ServiceDiscovery;

/// Which of the origin's servers an address belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerIndex(pub(super) usize);

/// Looks up every server's name; every address of a name takes part.
#[derive(Debug)]
pub(super) struct Resolver {
    servers: Vec<ServerUrl>,
}

impl Resolver {
    pub(super) fn new(servers: &[ServerUrl]) -> Self {
        Self { servers: servers.to_vec() }
    }
}

#[async_trait]
impl ServiceDiscovery for Resolver {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::new();
        for (index, server) in self.servers.iter().enumerate() {
            let host = server.host.trim_start_matches('[').trim_end_matches(']');
            match tokio::net::lookup_host((host, server.port)).await {
                Ok(addresses) => {
                    for address in addresses {
                        let mut backend = Backend::new(&address.to_string())?;
                        backend.ext.insert(ServerIndex(index));
                        backends.insert(backend);
                    }
                }
                Err(error) => {
                    tracing::warn!(server = %server, %error, "origin_name_not_resolved");
                }
            }
        }
        if backends.is_empty() {
            // An error keeps the addresses that are in use.
            return Error::e_explain(ErrorType::ConnectNoRoute, "no server's name resolves");
        }
        Ok((backends, HashMap::new()))
    }
}
