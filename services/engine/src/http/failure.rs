//! What the transport reports, as one of our errors.

use std::fmt;
use std::io;

use super::progress::{Progress, Stage};
use crate::error::{Error, ErrorKind, Phase, Sent, find_cause};

use super::options::{Limits, Timeouts};
use super::transport::TransportError;

/// A host whose address could not be found.
#[derive(Debug)]
pub(super) struct ResolveError(pub(super) io::Error);

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ResolveError {}

/// Name what went wrong in `error`, and what it means for the request.
pub(super) fn classify(
    error: TransportError,
    progress: &Progress,
    timeouts: &Timeouts,
    limits: &Limits,
) -> Error {
    // The URL may hold secrets; ours is printed without them.
    let error = error.without_url();
    if let Some(own) = find_cause::<Error>(&error) {
        let of_guard = *own.kind() == ErrorKind::AddressRefused;
        let sent = if of_guard { Sent::No } else { progress.sent_so_far() };
        return Error::new(own.kind().clone(), own.to_string())
            .with_phase(own.phase().unwrap_or(Phase::Send))
            .with_sent(sent);
    }
    if error.is_connect() {
        return classify_connect(error, timeouts);
    }
    if let TransportError::Url(cause) = error {
        return Error::invalid_request("no HTTP request can be made of the URL").with_source(cause);
    }
    let (kind, subject) = if progress.stage() == Stage::Receiving {
        classify_body(&error)
    } else {
        classify_head(&error, limits)
    };
    let phase = match progress.stage() {
        Stage::Receiving => Phase::Receive,
        Stage::Waiting => Phase::FirstByte,
        Stage::Connecting | Stage::Sending => Phase::Send,
    };
    let sent = if progress.sent() == 0 && was_never_sent(&error) { Sent::No } else { progress.sent_so_far() };
    Error::new(kind, subject).with_phase(phase).with_sent(sent).with_source(error)
}

fn classify_connect(error: TransportError, timeouts: &Timeouts) -> Error {
    if error.is_connect_timeout() {
        let after = timeouts.connect.unwrap_or(timeouts.total);
        let subject = format!("the connect timeout of {} s passed while connecting", after.as_secs_f64());
        return Error::new(ErrorKind::Timeout { name: "connect", after }, subject).with_phase(Phase::Connect);
    }
    let (kind, phase, subject) = if find_cause::<rustls::Error>(&error).is_some() {
        (ErrorKind::Tls, Phase::Tls, "agreeing on TLS")
    } else if find_cause::<ResolveError>(&error).is_some() {
        (ErrorKind::Connect, Phase::Resolve, "looking up the host")
    } else {
        (ErrorKind::Connect, Phase::Connect, "connecting")
    };
    Error::new(kind, subject).with_phase(phase).with_source(error)
}

fn classify_head(error: &TransportError, limits: &Limits) -> (ErrorKind, &'static str) {
    match find_cause::<hyper::Error>(error) {
        Some(cause) if cause.is_parse_too_large() => {
            let limit = limits.max_header_bytes as u64;
            let kind = ErrorKind::LimitExceeded { name: "max_header_bytes", limit, got: limit + 1 };
            (
                kind,
                "the head of the reply is larger than max_header_bytes or has more than max_headers headers",
            )
        }
        Some(cause) if cause.is_parse() => (ErrorKind::Protocol, "the head of the reply is not HTTP"),
        _ => (ErrorKind::ConnectionLost, "the connection was lost before the reply began"),
    }
}

fn classify_body(error: &TransportError) -> (ErrorKind, &'static str) {
    match find_cause::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => {
            (ErrorKind::IncompleteBody, "the connection was closed before the body of the reply was complete")
        }
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            (ErrorKind::Protocol, "the body of the reply is not framed as HTTP")
        }
        _ => (ErrorKind::ConnectionLost, "the connection was lost before the body of the reply was complete"),
    }
}

/// Whether the connection says that it never began to write this request. Only to be believed where
/// no frame of the body was asked for.
fn was_never_sent(error: &TransportError) -> bool {
    find_cause::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled)
}
