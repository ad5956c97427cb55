//! The stream on which a legacy server sends what belongs to no call: some ask their client there.

use std::sync::Arc;
use std::time::Duration;

use mcpgateway_engine::{Payload, Timeouts};

use crate::agreement::Agreed;
use crate::call::Call;
use crate::params::Params;
use crate::session::Session;
use crate::stream::{Stream, With, open};
use crate::version::Generation;

/// A server that has such a stream says so at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// As long as a session may last.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// That stream, if the server has one.
#[derive(Default)]
pub(crate) struct Listener {
    stream: Option<Stream>,
    /// With whom it was asked for.
    asked: Option<Arc<Agreed>>,
}

impl Listener {
    /// Ask for the stream, once for each session. A server may well have none.
    pub(crate) async fn open(&mut self, session: &Session, agreed: &Arc<Agreed>) {
        let is_wanted = session.shared.options.listens && agreed.version.generation() == Generation::Legacy;
        let is_asked = self.asked.as_ref().is_some_and(|asked| Arc::ptr_eq(asked, agreed));
        if !is_wanted || is_asked {
            return;
        }
        self.asked = Some(Arc::clone(agreed));
        let timeouts =
            Timeouts { connect: Some(PATIENCE), first_byte: Some(PATIENCE), idle: None, total: FOREVER };
        let call = call_of(agreed);
        let with = With { session, agreed: Some(agreed), call: &call };
        self.stream = Box::pin(open(with, agreed, timeouts, None))
            .await
            .ok()
            .map(|events| Stream::new(events, timeouts));
    }

    /// The text of the next message; none once the server has ended the stream for good.
    pub(crate) async fn next(&mut self, session: &Session) -> Option<Payload> {
        let agreed = self.asked.clone()?;
        let call = call_of(&agreed);
        let heard = self.stream.as_mut()?.next(With { session, agreed: Some(&agreed), call: &call }).await;
        if heard.is_err() {
            self.stream = None;
        }
        heard.ok()
    }
}

fn call_of(agreed: &Agreed) -> Call {
    Call { headers: agreed.headers.clone(), ..Call::new("", Params::new()) }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("listens", &self.stream.is_some()).finish()
    }
}
