//! What follows the commit in another store: carried out once, also when its first try was lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::{App, postgres, postgres_app, request_with};
use scalekit_core::{AfterCommit, Error, ErrorKind, OperationId, Result, db::Postgres, http::Participants};
use scalekit_testkit::wait_until;

/// A store that writes down how it was called and fails when told to.
#[derive(Default)]
struct Notes {
    calls: Mutex<Vec<&'static str>>,
    applied: Mutex<Vec<(OperationId, Vec<u8>)>>,
    failures: AtomicU32,
    unrecordable: bool,
}

impl Notes {
    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl AfterCommit for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn enlist(&self) {
        self.note("enlist");
    }

    fn record(&self) -> Result<Option<Vec<u8>>> {
        self.note("record");
        match self.unrecordable {
            true => Err(Error::new(ErrorKind::Misuse, "cannot be recorded")),
            false => Ok(Some(b"-2 apples".to_vec())),
        }
    }

    fn discard(&self) {
        self.note("discard");
    }

    async fn apply(&self, operation: OperationId, recorded: &[u8]) -> Result<()> {
        self.note("apply");
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, "down"));
        }
        self.applied.lock().unwrap().push((operation, recorded.to_vec()));
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        self.note("refresh");
        Ok(())
    }
}

async fn send(app: &App<Postgres>, notes: &Arc<Notes>, key: &str, body: &str) -> u16 {
    let mut participants = Participants::default();
    participants.add(Arc::clone(notes) as _);
    app.send(request_with("ada", Some(key), body, participants)).await.status
}

#[tokio::test]
async fn an_execution_and_each_replay_apply_the_same_bytes_under_the_same_operation() {
    let store = postgres(1).await;
    let app = postgres_app(store.builder(0));
    let (first, device) = (Arc::new(Notes::default()), Arc::new(Notes::default()));
    assert_eq!(send(&app, &first, "k", "go").await, 201);
    assert_eq!(first.take(), ["enlist", "record", "apply"]);
    assert_eq!(send(&app, &device, "k", "go").await, 201);
    assert_eq!(device.take(), ["apply"]);
    let (once, again) = (first.applied.lock().unwrap().clone(), device.applied.lock().unwrap().clone());
    assert_eq!((once.len(), &once), (1, &again));
    assert_eq!(once[0].1, b"-2 apples");
    assert_eq!(send(&app, &first, "k2", "go").await, 201);
    assert!(first.applied.lock().unwrap()[1].0 > once[0].0, "later operations have greater ids");
}

#[tokio::test]
async fn a_rollback_discards_whatever_its_reason() {
    let store = postgres(1).await;
    let app = postgres_app(store.builder(0).with_deadline(Duration::from_millis(200)));
    for (word, status) in [("refuse", 409), ("panic", 500), ("hang", 503), ("swallow", 500)] {
        let notes = Arc::new(Notes::default());
        assert_eq!(send(&app, &notes, "k", word).await, status);
        let calls = notes.take();
        assert_eq!((calls.first(), calls.last()), (Some(&"enlist"), Some(&"discard")), "{word}");
        assert!(!calls.contains(&"apply"), "{word}: {calls:?}");
    }
    let notes = Arc::new(Notes { unrecordable: true, ..Notes::default() });
    assert_eq!(send(&app, &notes, "k", "go").await, 500);
    assert_eq!(notes.take(), ["enlist", "record", "discard"]);
    let paid: i64 = sqlx::query_scalar("select count(*) from payment").fetch_one(&store.pool).await.unwrap();
    assert_eq!(paid, 0);
}

#[tokio::test]
async fn a_lost_apply_leaves_the_answer_and_is_made_good_in_the_background() {
    let store = postgres(1).await;
    let app = postgres_app(store.builder(0));
    let notes = Arc::new(Notes { failures: AtomicU32::new(2), ..Notes::default() });
    assert_eq!(send(&app, &notes, "k", "go").await, 201);
    wait_until("the background has applied it", Duration::from_secs(10), || async {
        notes.applied.lock().unwrap().len() == 1
    })
    .await;
    assert!(app.idempotency.drain(Duration::from_secs(5)).await);
    assert_eq!(notes.take(), ["enlist", "record", "apply", "apply", "apply"]);
}

#[tokio::test]
async fn one_that_waited_and_then_executes_reads_again_first() {
    let store = postgres(2).await;
    let (one, two) = (postgres_app(store.builder(0)), postgres_app(store.builder(1)));
    for (key, app) in [("one", &one), ("two", &two)] {
        let (first, second) = (Arc::new(Notes::default()), Arc::new(Notes::default()));
        // The first holds the key until its deadline; the other then has it, in this process or the next.
        let slow = postgres_app(store.builder(0).with_deadline(Duration::from_millis(150)));
        let (hung, next) = tokio::join!(send(&slow, &first, key, "hang"), async {
            wait_until("the first holds the key", Duration::from_secs(5), || async {
                first.calls.lock().unwrap().contains(&"enlist")
            })
            .await;
            send(app, &second, key, "go").await
        });
        assert_eq!((hung, next), (503, 201));
        assert_eq!(second.take(), ["refresh", "enlist", "record", "apply"]);
    }
}
