//! How connections are made by reqwest: trust, protocols, addresses, and when they are given up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, Identity, Proxy};

use super::guard::Guard;
use super::options::{ClientOptions, Http2, Trust};
use super::resolve::Resolver;
use crate::error::{Error, ErrorKind, Result};

/// A connection that was idle this long is not used again: servers close theirs at about this time,
/// and a request that leaves as the server closes is lost.
pub(super) const IDLE_CONNECTION: Duration = Duration::from_secs(15);
/// Bytes that may be on their way in an HTTP/2 stream and connection: enough for loopback, and for
/// 1 Gbit/s at 100 ms.
const HTTP2_WINDOW: u32 = 16 << 20;

/// The connection pool for `options`, belonging to this process, with connections that `guard` lets pass only.
pub(super) fn build(options: &ClientOptions, guard: Option<&Guard>) -> Result<reqwest::Client> {
    crate::fault::point("client::build");
    // Fails only if the process has chosen a provider already, which then is the one to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let built = with_trust(builder(options, guard)?, &options.trust)?.build();
    match (built, &options.trust) {
        // A system without any certificate authority: plain HTTP still works, TLS trusts nobody.
        (Err(_), Trust::System) => builder(options, guard)?.tls_certs_only([]).build().map_err(unusable),
        (built, _) => built.map_err(unusable),
    }
}

fn builder(options: &ClientOptions, guard: Option<&Guard>) -> Result<ClientBuilder> {
    let resolver = Resolver { names: options.resolver.clone(), guard: guard.cloned() };
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE_CONNECTION)
        .dns_resolver(resolver)
        .http1_max_headers(options.limits.max_headers)
        .http2_initial_stream_window_size(HTTP2_WINDOW)
        .http2_initial_connection_window_size(HTTP2_WINDOW)
        .http2_max_header_list_size(u32::try_from(options.limits.max_header_bytes).unwrap_or(u32::MAX));
    if let Some(connect) = options.timeouts.connect {
        builder = builder.connect_timeout(connect);
    }
    // A peer that stops reading for good must not keep a buffer for ever, even where the call is over.
    #[cfg(target_os = "linux")]
    if let Some(idle) = options.timeouts.idle {
        builder = builder.tcp_user_timeout(idle);
    }
    if !options.trust_env {
        builder = builder.no_proxy();
    }
    if let Some(proxy) = &options.proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(unusable)?);
    }
    if !options.identity.is_empty() {
        builder = builder.identity(identity(&options.identity)?);
    }
    Ok(match options.http2 {
        Http2::Auto => builder,
        Http2::Never => builder.http1_only(),
        Http2::Always => builder.http2_prior_knowledge(),
    })
}

fn with_trust(builder: ClientBuilder, trust: &Trust) -> Result<ClientBuilder> {
    Ok(match trust {
        Trust::System => builder,
        Trust::Authorities(path) => builder.tls_certs_only(authorities(path)?),
        Trust::Anyone => builder.tls_danger_accept_invalid_certs(true),
    })
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let found = Certificate::from_pem_bundle(&read(path)?).map_err(|cause| no_certificate(path, cause))?;
    if found.is_empty() {
        return Err(Error::invalid_request(format!("{}: no PEM certificate in this file", path.display())));
    }
    Ok(found)
}

fn identity(paths: &[PathBuf]) -> Result<Identity> {
    let pem = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?.join(&b'\n');
    Identity::from_pem(&pem).map_err(|cause| no_certificate(&paths[0], cause))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable =
        |cause| Error::new(ErrorKind::File, format!("reading {}", path.display())).with_source(cause);
    std::fs::read(path).map_err(unreadable)
}

fn no_certificate(path: &Path, cause: reqwest::Error) -> Error {
    Error::invalid_request(format!("{}: not a PEM certificate with its key", path.display()))
        .with_source(cause)
}

fn unusable(cause: reqwest::Error) -> Error {
    Error::invalid_request("these client options cannot be used together").with_source(cause.without_url())
}
