//! What is logged and traced during the life of sessions, searched for everything that opens or names one.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    io::Write,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{Browser, hooked::Flaky, on_redis, shop};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;
use tracing_subscriber::fmt::format::FmtSpan;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Every spelling of the secrets in a cookie: of its text, its id, its MAC, and of what the store knows it by.
fn spellings(cookie: &str) -> Vec<String> {
    let value = cookie.split(';').next().unwrap().split_once('=').unwrap().1;
    let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
    let (secret, mac) = (&bytes[7..23], &bytes[23..]);
    let digest = Sha256::digest(secret);
    let mut all: Vec<String> = (0..=value.len() - 16).map(|at| value[at..at + 16].to_owned()).collect();
    for part in [secret, mac, &digest] {
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        all.extend([hex.to_uppercase(), hex, URL_SAFE_NO_PAD.encode(part), format!("{part:?}")]);
    }
    all
}

#[tokio::test]
async fn no_log_line_and_no_span_tells_a_secret() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // For the process, which is why no other test stands here: what one thread has traced in vain, a subscriber
    // that comes later may never be given.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::trace!("captured");

    let server = common::redis().await;
    let flaky = Flaky::new(u32::MAX);
    let issued = AsyncMutex::new(Vec::new());
    for app in [shop(&on_redis(&server.url())), shop(&flaky.store.sessions())] {
        let mut browser = Browser::new(&app);
        let mut old = Vec::new();
        let plan = [
            "/views",
            "/cart/tea/1",
            "/note/a",
            "/sign-in/acme/ada",
            "/note/b",
            "/sign-in/acme/ada",
            "/sign-in/acme/bob",
            "/panics",
            "/fails/eve",
            "/revoke/others",
            "/sign-out",
            "/views",
            "/sign-in/acme/ada",
            "/locale/de",
        ];
        for path in plan {
            old.push(browser.clone());
            let panicking = AssertUnwindSafe(browser.post(path));
            if let Ok(answer) = futures_util::FutureExt::catch_unwind(panicking).await {
                issued
                    .lock()
                    .await
                    .extend(answer.cookies().into_iter().filter(|one| !one.contains("Max-Age=0")));
            }
            browser.get("/all").await;
            browser.get("/sessions").await;
        }
        for late in &mut old {
            late.send_only("POST", "/note/late", "").await;
        }
        let mut forged = browser.clone();
        forged.cookie = forged.cookie.map(|cookie| cookie.replace("id=A", "id=B"));
        forged.get("/all").await;
        server.kill().await;
        for path in ["/views", "/note/x", "/sign-in/acme/eve", "/sign-out"] {
            let answer = browser.clone().post(path).await;
            issued.lock().await.extend(answer.cookies().into_iter().filter(|one| !one.contains("Max-Age=0")));
        }
    }
    let (log, issued) = (captured.text(), issued.into_inner());
    assert!(issued.len() >= 10, "{issued:?}");
    let spans = ["session_load{session=\"", "session_commit{session=\""];
    for expected in ["captured", "session commit failed", "redis"].into_iter().chain(spans) {
        assert!(log.contains(expected), "no {expected:?}: the capture missed it:\n{log}");
    }
    for cookie in &issued {
        for secret in spellings(cookie) {
            let at = log.lines().find(|line| line.contains(&secret));
            assert!(at.is_none(), "{secret} is in {at:?}");
        }
    }
}
