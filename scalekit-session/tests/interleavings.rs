//! A sign-out beside writes, with the store pausing at each step of each call: whoever comes first, what has ended stays
//! dead, and no answer changes.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use common::{Browser, hooked::Hooked, shop, signed_in};
use futures_util::future::join_all;
use scalekit_testkit::{Rng, evidence, full, seed};

/// A store each of whose calls gives way to all others a few times before it is done, and after.
fn pausing(rng: Rng) -> Hooked {
    let rng = Mutex::new(rng);
    Hooked::new(move |_| {
        let pauses = rng.lock().unwrap().below(6);
        async move {
            for _ in 0..pauses {
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    })
}

/// On one thread, so that the seed alone decides who comes when.
#[tokio::test]
async fn what_has_ended_stays_dead_wherever_the_store_pauses() {
    let (rounds, seed) = (if full() { 10_000 } else { 1_500 }, seed());
    let (mut late, mut in_time) = (0, 0);
    for round in 0..rounds {
        let mut rng = Rng::new(seed ^ round);
        let store = pausing(Rng::new(seed.rotate_left(32) ^ round));
        let sessions = store.sessions();
        let app = shop(&sessions);
        let user = signed_in(&app, "acme", "ada").await;
        let out = ["/sign-out", "/revoke/all"][rng.below(2) as usize];
        let writes = ["/views", "/note/x", "/cart/tea/1", "/locale/de", "/field/1"];
        let mut plan: Vec<&str> = (0..4).map(|_| *rng.pick(&writes)).chain([out]).collect();
        rng.shuffle(&mut plan);
        let sends = plan.iter().map(|path| {
            let (user, pauses) = (user.clone(), rng.below(12));
            async move {
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
                (path, user.send_only("POST", path, "").await)
            }
        });
        for (path, answer) in join_all(sends).await {
            let what = format!("seed {seed}, round {round}, {path} of {plan:?}: {answer:?}");
            assert!(answer.status.is_success(), "{what}");
            assert_eq!(answer.cookies().len(), usize::from(*path == out), "{what}");
        }
        assert!(store.store.is_empty(), "seed {seed}, round {round}: {plan:?}");
        let gone = sessions.metrics().gone;
        (late, in_time) = (late + gone, in_time + 4 - gone);
        assert_eq!(user.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    }
    let outcome =
        format!("0 sessions alive, no answer changed; {in_time} writes came before it and {late} after");
    evidence(
        "writes beside a sign-out, the store pausing at each step",
        &format!("{rounds} sign-outs"),
        &outcome,
    );
    assert!(late > rounds / 2 && in_time > rounds / 2, "the attack missed: {late} and {in_time}");
}

#[tokio::test]
async fn a_guest_that_signs_in_keeps_every_write_that_was_not_told_to_be_late() {
    let (rounds, seed) = (if full() { 10_000 } else { 1_000 }, seed());
    let (mut late, mut kept) = (0, 0);
    for round in 0..rounds {
        let mut rng = Rng::new(seed ^ round);
        let store = pausing(Rng::new(seed.rotate_left(32) ^ round));
        let sessions = store.sessions();
        let app = shop(&sessions);
        let mut guest = Browser::new(&app);
        guest.post("/cart/tea/1").await;
        let plan = Arc::new(["/cart/tea/1", "/sign-in/acme/ada", "/cart/tea/1", "/cart/tea/1"]);
        let sends = plan.iter().map(|path| {
            let (guest, pauses) = (guest.clone(), rng.below(30));
            async move {
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
                guest.send_only("POST", path, "").await
            }
        });
        let answers = join_all(sends).await;
        assert!(answers.iter().all(|answer| answer.status.is_success()), "seed {seed}, round {round}");
        guest.keep(&answers[1]);
        let all = guest.get("/all").await.json();
        let gone = sessions.metrics().gone;
        assert_eq!(all["cart"]["tea"].as_u64(), Some(4 - gone), "seed {seed}, round {round}");
        (late, kept) = (late + gone, kept + 3 - gone);
    }
    assert!(late > 0 && kept > rounds, "the attack missed: {late} and {kept}");
}
