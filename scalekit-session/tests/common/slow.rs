//! A shop with a request that waits half-way for the test.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::post};
use scalekit_core::{ManualClock, Result};
use scalekit_session::{MemoryStore, Session, Sessions};
use tokio::{sync::Barrier, task::JoinHandle};

use super::{Answer, Browser, ring, with};

pub const HOUR: Duration = Duration::from_secs(3_600);

/// A shop whose handler at `/slow` waits for the test between two things that it does.
pub struct Shop {
    pub app: Router,
    pub sessions: Sessions,
    pub clock: Arc<ManualClock>,
    pub store: MemoryStore,
    gate: Arc<Barrier>,
}

impl Shop {
    pub fn open<A, B>(
        before: impl Fn(Session) -> A + Clone + Send + Sync + 'static,
        after: impl Fn(Session) -> B + Clone + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = Result<()>> + Send,
        B: Future<Output = Result<()>> + Send,
    {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let store = MemoryStore::with_clock(clock.clone());
        let sessions = with(Sessions::builder(store.clone(), ring()).clock(clock.clone()).idle(2 * HOUR));
        let gate = Arc::new(Barrier::new(2));
        let wait = gate.clone();
        let slow = move |session: Session| {
            let (before, after, wait) = (before(session.clone()), after.clone(), wait.clone());
            async move {
                before.await?;
                wait.wait().await;
                wait.wait().await;
                after(session).await
            }
        };
        let renew = async |session: Session| session.renew();
        let more = Router::new().route("/slow", post(slow)).route("/renew", post(renew));
        Self { app: super::shop(&sessions).merge(more.layer(sessions.layer())), sessions, clock, store, gate }
    }

    /// Sends the slow request; it is where it waits.
    pub async fn slow(&self, browser: &Browser) -> JoinHandle<Answer> {
        let browser = browser.clone();
        let request = tokio::spawn(async move { browser.send_only("POST", "/slow", "").await });
        self.gate.wait().await;
        request
    }

    pub async fn end(&self, request: JoinHandle<Answer>) -> Answer {
        self.gate.wait().await;
        request.await.unwrap()
    }

    /// For all who look at a clock.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
    }

    /// Another tab's request rotates the session, and the next one uses the new secret; the grace passes.
    pub async fn rotate(&self, browser: &mut Browser) {
        self.pass(HOUR).await;
        let old = browser.cookie.clone();
        browser.get("/all").await;
        assert_ne!(browser.cookie, old);
        browser.get("/all").await;
        self.pass(Duration::from_secs(60)).await;
    }
}
