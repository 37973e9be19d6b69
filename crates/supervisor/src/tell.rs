//! What the proxy process is told of the configuration: where it listens, whom it sends to, what
//! it counts in.

use std::io;

use ostler_conf::{Config, OriginConfig, OriginKind};
use ostler_policy::route::route_names;

use crate::config_version::ConfigVersion;
use crate::listeners::Listener;
use crate::message::ToProxy;
use crate::proxy::memory_file;
use crate::start::StartError;
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Where access log lines go.
    pub(crate) fn tell_access_log(&mut self) -> io::Result<()> {
        let file = self.live.access_log.try_clone()?;
        self.machinery.proxy.tell(ToProxy::AccessLog, vec![file]);
        Ok(())
    }

    /// Where the history is kept.
    pub(crate) fn tell_history(&mut self) -> io::Result<()> {
        if let Some(file) = &self.machinery.history {
            let file = file.try_clone()?;
            self.machinery.proxy.tell(ToProxy::History, vec![file]);
        }
        Ok(())
    }

    /// The counters of an origin's servers.
    fn tell_origin(&mut self, name: &str, origin: &OriginConfig) -> Result<(), StartError> {
        let OriginKind::Servers { servers, .. } = &origin.kind else { return Ok(()) };
        for server in servers {
            let (origin, url) = (name.to_owned(), server.to_string());
            self.machinery.pages.add_origin_server(&origin, &url)?;
            let page = self.machinery.pages.origin_server(&origin, &url)?;
            self.machinery.proxy.tell(ToProxy::OriginServer { origin, url }, vec![page]);
        }
        Ok(())
    }

    /// A pool and its counters.
    pub(crate) fn tell_pool(&mut self, name: &str) -> Result<(), StartError> {
        self.machinery.pages.add_pool(name)?;
        let page = self.machinery.pages.pool(name)?;
        self.machinery.proxy.tell(ToProxy::Pool { name: name.to_owned() }, vec![page]);
        self.machinery.post_mortems.tell(name, &mut self.machinery.proxy);
        Ok(())
    }

    /// The routes and what their costs are counted in.
    fn tell_routes(&mut self, config: &Config) -> Result<(), StartError> {
        let routes = &mut self.machinery.pages.routes;
        routes.add(route_names(config))?;
        let descriptors = routes.descriptors()?;
        self.machinery.proxy.tell(ToProxy::Routes, descriptors);
        Ok(())
    }

    /// A listener and its sockets.
    pub(crate) fn tell_listener(&mut self, listener: &Listener) -> io::Result<()> {
        let message = ToProxy::Listener {
            name: listener.name.clone(),
            address: listener.address().to_owned(),
            configured: listener.configured(),
            role: listener.role,
        };
        let sockets = listener.sockets(self.live.config().server.threads);
        let sockets =
            sockets.map(|socket| socket.try_clone_to_owned()).collect::<io::Result<_>>()?;
        self.machinery.proxy.tell(message, sockets);
        Ok(())
    }

    /// A configuration and all it names, which the proxy process may have forgotten.
    pub(crate) fn tell_config(&mut self, version: &ConfigVersion) -> Result<(), StartError> {
        let config = &version.loaded.config;
        config.pools.keys().try_for_each(|name| self.tell_pool(name))?;
        config.origins.iter().try_for_each(|(name, origin)| self.tell_origin(name, origin))?;
        self.tell_routes(config)?;
        let texts = [&version.for_proxy, &version.for_operators];
        let files = texts.into_iter().map(|text| memory_file(text)).collect::<io::Result<_>>()?;
        let ConfigVersion { number, loaded_unix_ms, .. } = *version;
        self.machinery.proxy.tell(ToProxy::Config { version: number, loaded_unix_ms }, files);
        Ok(())
    }

    /// Why the last reload failed.
    pub(crate) fn tell_config_error(&mut self) {
        let message = self.config_error.clone();
        self.machinery.proxy.tell(ToProxy::ConfigError { message }, Vec::new());
    }
}
