//! From the name of a host to the addresses that may be connected to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns;
use reqwest::dns::{Addrs, Name, Resolving};
use tower_service::Service;

use super::failure::ResolveError;
use super::guard::Guard;
use crate::error::Source;

/// The addresses of a host, once they are known.
pub type Resolution = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up the addresses of hosts in place of the system's resolver.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of `host`, in the order they are to be tried.
    ///
    /// # Errors
    /// When there is none, or nobody can be asked.
    fn resolve(&self, host: &str) -> Resolution;
}

/// Whom to ask for addresses, and which of them are let pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver {
    /// `None` for the system.
    pub(super) names: Option<Arc<dyn Resolve>>,
    pub(super) guard: Option<Guard>,
}

impl Resolver {
    /// All addresses of `host`.
    pub(super) async fn all(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = match &self.names {
            Some(names) => names.resolve(host).await,
            None => tokio::net::lookup_host((host, 0))
                .await
                .map(|found| found.map(|address| address.ip()).collect()),
        };
        found.map_err(ResolveError)
    }

    /// The addresses of `host` that may be connected to; if there are others only, the first one's refusal.
    async fn permitted(&self, host: &str) -> Result<Vec<SocketAddr>, Source> {
        let mut found = self.all(host).await?;
        if let Some(guard) = &self.guard {
            let first = found.first().copied();
            found.retain(|address| guard.permits(host, *address));
            if let Some(first) = first.filter(|_| found.is_empty()) {
                guard.check(host, first)?;
            }
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move { Ok(Box::new(resolver.permitted(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

impl Service<dns::Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Source;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Source>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Source>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { Ok(resolver.permitted(name.as_str()).await?.into_iter()) })
    }
}
