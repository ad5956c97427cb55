//! Tokens that are asked for when they are needed, and again when an agent refuses them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mcpgateway_engine::Result;
use tokio::sync::Mutex;

/// A token that is on its way.
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<String>> + Send>>;

/// Gives bearer tokens.
pub trait TokenSource: Send + Sync {
    /// A token that holds now.
    fn token(&self) -> TokenFuture;
}

/// The token that is used until an agent refuses it.
#[derive(Default)]
pub(super) struct KeptToken(Mutex<Option<String>>);

impl KeptToken {
    /// The token that is kept, unless it is `refused`, else one of `source`; those who come at once wait for one
    /// answer.
    pub(super) async fn other_than(
        &self,
        refused: Option<&str>,
        source: Option<&Arc<dyn TokenSource>>,
    ) -> Result<Option<String>> {
        let Some(source) = source else { return Ok(None) };
        let mut kept = self.0.lock().await;
        if let Some(token) = kept.as_deref()
            && Some(token) != refused
        {
            return Ok(Some(token.to_owned()));
        }
        *kept = None;
        let token = source.token().await?;
        Ok(Some(kept.insert(token).clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl TokenSource for Counting {
        fn token(&self) -> TokenFuture {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tokio::task::yield_now().await;
                Ok(format!("t{number}"))
            })
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_again_when_it_is_refused() {
        let counting = Arc::new(Counting::default());
        let source: Arc<dyn TokenSource> = counting.clone();
        let kept = KeptToken::default();
        let both = tokio::join!(kept.other_than(None, Some(&source)), kept.other_than(None, Some(&source)));
        let token = |result: Result<Option<String>>| result.expect("a token").expect("there is a source");
        assert_eq!([token(both.0), token(both.1)], ["t0", "t0"]);
        // Two calls were refused with the same token: one new one is enough.
        assert_eq!(token(kept.other_than(Some("t0"), Some(&source)).await), "t1");
        assert_eq!(token(kept.other_than(Some("t0"), Some(&source)).await), "t1");
        assert_eq!(counting.0.load(Ordering::SeqCst), 2);
        assert_eq!(kept.other_than(None, None).await.expect("no source"), None);
    }
}
