//! What pingora asks while it carries one request: which server, how to reach it, whether to try
//! another.

use std::any::Any;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use ostler_segment::counter::OriginServer as Counter;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_load_balancing::Backend;
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::resolve::ServerIndex;
use super::{Call, OriginFailure, Server};

/// How long an idle connection to a server is kept.
const IDLE: Duration = Duration::from_mins(1);

/// Carries requests to origins.
#[derive(Clone, Copy, Debug)]
pub(super) struct OriginApp;

/// One request inside the engine.
#[derive(Default)]
pub(super) struct Carried {
    call: Option<Box<Call>>,
    tried: Vec<Backend>,
    /// The server that is being asked.
    server: Option<usize>,
}

impl Carried {
    fn call(&self) -> Result<&Call> {
        let missing = || Error::explain(ErrorType::InternalError, "a request without its call");
        self.call.as_deref().ok_or_else(missing)
    }

    fn server(&self) -> Option<&Server> {
        self.call.as_ref()?.origin.servers.get(self.server?)
    }

    /// Ends the attempt that is under way, with what went wrong, if the server is to blame.
    fn attempt_ended(&mut self, error: Option<&Error>) {
        if let Some(server) = self.server() {
            server.in_flight.fetch_sub(1, Ordering::Relaxed);
            match error {
                None => server.note_answer(),
                Some(error) => {
                    server.counters.add(Counter::ErrorsTotal, 1);
                    let address = self.tried.last().map(|backend| backend.addr.to_string());
                    server.note_failure(sentence(error.etype(), &address.unwrap_or_default()));
                }
            }
        }
        self.server = None;
    }

    /// Chooses the next server: one that was not tried, as long as there is one.
    fn choose(&mut self) -> Result<(HttpPeer, usize)> {
        let call = self.call()?;
        let origin = &call.origin;
        let is_new = |backend: &Backend, healthy: bool| healthy && !self.tried.contains(backend);
        let found = origin.balancer.select_with(b"", 256, is_new);
        let found = found.or_else(|| origin.balancer.select(b"", 256));
        let none =
            || Error::explain(ErrorType::ConnectNoRoute, "no address of any server is known");
        let backend = found.ok_or_else(none)?;
        let index = backend.ext.get::<ServerIndex>().map_or(0, |index| index.0);
        let url = &origin.servers.get(index).ok_or_else(none)?.url;
        let SocketAddr::Inet(address) = backend.addr else { return Err(none()) };
        let mut peer = HttpPeer::new(address, url.tls, url.host.clone());
        let options = &mut peer.options;
        options.connection_timeout = Some(origin.connect_timeout);
        options.total_connection_timeout = Some(origin.connect_timeout);
        options.read_timeout = Some(origin.idle);
        options.write_timeout = Some(origin.idle);
        options.idle_timeout = Some(if origin.keeps_connections { IDLE } else { Duration::ZERO });
        self.tried.push(backend);
        Ok((peer, index))
    }

    /// Whether a failed attempt may be repeated: `retries`, for idempotent methods.
    fn may_retry(&self, method: &Method) -> bool {
        let retries = self.call.as_ref().map_or(0, |call| call.origin.retries as usize);
        method.is_idempotent() && self.tried.len() <= retries
    }
}

#[async_trait]
impl ProxyHttp for OriginApp {
    type CTX = Carried;

    fn new_ctx(&self) -> Self::CTX {
        Carried::default()
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // None: what the origin sends is passed on as it is.
    }

    fn on_connection_reuse(
        &self,
        session: &mut Session,
        carried: &mut Self::CTX,
        call: Box<dyn Any + Send + Sync>,
    ) {
        carried.call = call.downcast::<Call>().ok();
        session.set_keepalive(None);
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        carried: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let (peer, index) = carried.choose()?;
        carried.server = Some(index);
        if let Some(server) = carried.server() {
            server.counters.add(Counter::RequestsTotal, 1);
            server.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        carried: &mut Self::CTX,
    ) -> Result<()> {
        let call = carried.call()?;
        let host = match (&call.host, carried.server()) {
            (Some(host), _) => host.clone(),
            (None, Some(server)) => server.url.authority(),
            (None, None) => return Ok(()),
        };
        request.insert_header("host", host)
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        _response: &mut ResponseHeader,
        carried: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(server) = carried.server() {
            server.note_answer();
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        carried: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        carried.attempt_ended(Some(&error));
        error.set_retry(carried.may_retry(&session.req_header().method));
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        carried: &mut Self::CTX,
        is_reused: bool,
    ) -> Box<Error> {
        let is_timeout = matches!(error.etype(), ErrorType::ReadTimedout);
        carried.attempt_ended(Some(&*error).filter(|error| is_theirs(error)));
        if is_timeout {
            // The deadline of the response has passed, whoever might still answer.
            error.set_retry(false);
            return error;
        }
        let method = &session.req_header().method;
        // A kept connection that the server has closed meanwhile is nobody's failure.
        let may_repeat = carried.may_retry(method) || (is_reused && method.is_idempotent());
        let is_repeatable = is_theirs(&error)
            && session.as_downstream().response_written().is_none()
            && !session.as_ref().retry_buffer_truncated();
        error.set_retry(may_repeat && is_repeatable);
        error
    }

    async fn fail_to_proxy(
        &self,
        _session: &mut Session,
        error: &Error,
        carried: &mut Self::CTX,
    ) -> FailToProxy {
        if let Some(call) = &carried.call {
            call.outcome.set(failure(error.etype()));
        }
        // Nothing is written: the pipe closes, and the proxy's own table answers.
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    async fn logging(
        &self,
        _session: &mut Session,
        error: Option<&Error>,
        carried: &mut Self::CTX,
    ) {
        carried.attempt_ended(error.filter(|error| is_theirs(error)));
        if let (Some(error), Some(call)) = (error, &carried.call) {
            tracing::debug!(origin = %call.origin.name, %error, "origin_failed");
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        true
    }
}

/// Whether the server is at fault, and not our client who left.
fn is_theirs(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream
}

#[expect(clippy::wildcard_enum_match_arm, reason = "pingora's list of errors is open")]
fn failure(error: &ErrorType) -> OriginFailure {
    match error {
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::TLSWantX509Lookup
        | ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::ConnectError
        | ErrorType::BindError
        | ErrorType::SocketError
        | ErrorType::ConnectProxyFailure => OriginFailure::Connect,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => OriginFailure::Timeout,
        _ => OriginFailure::Broken,
    }
}

/// What went wrong with a server, for the operator.
#[expect(clippy::wildcard_enum_match_arm, reason = "pingora's list of errors is open")]
fn sentence(error: &ErrorType, address: &str) -> String {
    match error {
        ErrorType::ConnectRefused => format!("{address} refuses connections"),
        ErrorType::ConnectTimedout => format!("no connection to {address} in time"),
        ErrorType::ConnectNoRoute => format!("no route to {address}"),
        ErrorType::TLSHandshakeTimedout => format!("no TLS with {address} in time"),
        ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError => {
            format!("TLS with {address} fails")
        }
        ErrorType::InvalidCert => format!("the certificate of {address} is not valid"),
        error if failure(error) == OriginFailure::Connect => {
            format!("{address} cannot be reached")
        }
        error if failure(error) == OriginFailure::Timeout => {
            format!("{address} does not answer in time")
        }
        _ => format!("{address} breaks off, or answers what is not HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_the_address() {
        for (error, expected) in [
            (ErrorType::ConnectRefused, "10.0.0.7:80 refuses connections"),
            (ErrorType::ConnectTimedout, "no connection to 10.0.0.7:80 in time"),
            (ErrorType::SocketError, "10.0.0.7:80 cannot be reached"),
            (ErrorType::ReadTimedout, "10.0.0.7:80 does not answer in time"),
            (ErrorType::ConnectionClosed, "10.0.0.7:80 breaks off, or answers what is not HTTP"),
        ] {
            assert_eq!(sentence(&error, "10.0.0.7:80"), expected);
        }
    }
}
