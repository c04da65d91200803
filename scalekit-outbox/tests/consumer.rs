//! Events handled in the process of the relay: order per key, retries, parking, effects that happen once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use scalekit_core::{Error, ErrorKind, Principal, Worker, Workers, db::TxSource};
use scalekit_outbox::{
    Consumer, Delivered, Handler, Inbox, Lane, LogPosition, MemorySink, Outbox, Outcome, Received, Record,
    Relay, Sink, SinkError, lane_of,
};
use scalekit_testkit::{at_once, wait_until};
use support::{
    Kind, Mortal, SOON, Site,
    handler::{Act, Diary},
    numbered, on_both,
};

on_both!(
    events_of_a_key_are_handled_in_order,
    a_transient_error_repeats_the_event_and_holds_its_key,
    a_parked_key_lets_others_pass_and_is_retried,
    a_panic_and_a_broken_handler_park,
    a_consumer_that_dies_loses_nothing,
    all_stops_in_time_while_a_handler_fails,
    duplicates_that_race_take_effect_once,
    a_handler_appends_in_the_transaction_of_its_claim,
);

/// A relay and a consumer, joined by a memory sink.
fn run<D: Kind>(site: &Site<D>, handler: Arc<dyn Handler>) -> (Arc<Relay<D>>, Workers) {
    let sink = Arc::new(MemorySink::new(64));
    let relay = Arc::new(site.relay(sink.clone()));
    let mut workers = Workers::default();
    workers.spawn(Arc::clone(&relay) as Arc<dyn Worker>);
    workers.spawn(Arc::new(Consumer::of_memory(sink, handler)));
    (relay, workers)
}

async fn events_of_a_key_are_handled_in_order<D: Kind>() {
    let site = D::site().await;
    let diary = Arc::new(Diary::default());
    let (relay, _workers) = run(&site, diary.clone());
    for round in 0..10 {
        for key in ["a", "b", "c"] {
            site.append(key, round * 20..round * 20 + 20).await;
        }
    }
    diary.until("all are handled", |diary| diary.all().values().map(Vec::len).sum::<usize>() >= 600).await;
    for key in ["a", "b", "c"] {
        assert_eq!(diary.of(key), (0..200).collect::<Vec<_>>());
    }
    wait_until("all are acknowledged", SOON, async || relay.lag().await.unwrap().events == 0).await;
}

async fn a_transient_error_repeats_the_event_and_holds_its_key<D: Kind>() {
    let site = D::site().await;
    let diary = Arc::new(Diary::default());
    diary.on("a", 1, Act::Fail(2));
    let (_relay, _workers) = run(&site, diary.clone());
    let other = (0..).map(|n| format!("k{n}")).find(|key| lane_of(key) == lane_of("a")).unwrap();
    let mut tx = site.begin().await;
    let events = [numbered("a", 0), numbered("a", 1), numbered("a", 2), numbered(&other, 7)];
    site.outbox.append(&mut *tx, &events).await.unwrap();
    tx.commit().await.unwrap();
    diary.until("another key passes", |diary| diary.of(&other) == [7]).await;
    assert!(diary.of("a").len() <= 1, "the key waits for its event: {:?}", diary.of("a"));
    diary.until("the key goes on", |diary| diary.of("a").len() == 3).await;
    assert_eq!((diary.of("a"), diary.tried("a", 1)), (vec![0, 1, 2], 3));
}

async fn a_parked_key_lets_others_pass_and_is_retried<D: Kind>() {
    let site = D::site().await;
    let diary = Arc::new(Diary::default());
    diary.on("a", 1, Act::Park { retry: true });
    let (relay, _workers) = run(&site, diary.clone());
    let other = (0..).map(|n| format!("k{n}")).find(|key| lane_of(key) == lane_of("a")).unwrap();
    site.append("a", 0..4).await;
    site.append(&other, 0..4).await;
    diary.until("the other key passes", |diary| diary.of(&other).len() == 4).await;
    wait_until("it is on the list", SOON, async || {
        relay
            .parked(9)
            .await
            .unwrap()
            .first()
            .is_some_and(|parked| parked.reason == "not now" && parked.behind == 2)
    })
    .await;
    assert_eq!(diary.of("a"), [0]);
    diary.until("it is tried again by itself", |diary| diary.tried("a", 1) >= 2).await;
    site.append("a", 4..6).await;
    diary.forgive();
    diary.until("the key is whole", |diary| diary.of("a").len() >= 6).await;
    assert_eq!(diary.of("a"), (0..6).collect::<Vec<_>>());
}

async fn a_panic_and_a_broken_handler_park<D: Kind>() {
    let site = D::site().await;
    let diary = Arc::new(Diary::default());
    diary.on("a", 0, Act::Panic);
    diary.on("b", 0, Act::Break);
    let (relay, _workers) = run(&site, diary.clone());
    site.append("a", 0..2).await;
    site.append("b", 0..2).await;
    wait_until("both are on the list", SOON, async || relay.parked(9).await.unwrap().len() == 2).await;
    let parked = relay.parked(9).await.unwrap();
    let mut reasons: Vec<_> = parked.into_iter().map(|parked| parked.reason).collect();
    reasons.sort();
    assert_eq!(reasons, ["broken for good", "the handler panicked"]);
    diary.until("the panic is over", |diary| diary.of("a").len() == 2).await;
    assert_eq!((diary.of("a"), diary.of("b")), (vec![0, 1], vec![]));
}

async fn a_consumer_that_dies_loses_nothing<D: Kind>() {
    let site = D::site().await;
    let diary = Arc::new(Diary::default());
    diary.on("a", 2, Act::Fail(1));
    let sink = Arc::new(MemorySink::new(4));
    let _relay = Mortal::run(Arc::new(site.relay(sink.clone())));
    let first = Mortal::run(Arc::new(Consumer::of_memory(sink.clone(), diary.clone())));
    site.append("a", 0..40).await;
    diary.until("it fails", |diary| diary.tried("a", 2) == 1).await;
    first.kill().await;
    let _second = Mortal::run(Arc::new(Consumer::of_memory(sink, diary.clone())));
    diary.until("all are handled", |diary| diary.of("a").contains(&39)).await;
    let mut next = 0;
    for number in diary.of("a") {
        assert!(number <= next, "{number} came before {next}");
        next = next.max(number + 1);
    }
    assert_eq!(next, 40);
}

async fn all_stops_in_time_while_a_handler_fails<D: Kind>() {
    let site = D::site().await;
    let diary = Arc::new(Diary::default());
    diary.on("a", 0, Act::Fail(u32::MAX));
    let (_relay, mut workers) = run(&site, diary.clone());
    site.append("a", 0..100).await;
    diary.until("it fails", |diary| diary.tried("a", 0) >= 1).await;
    assert!(workers.drain(SOON).await, "all workers stop by themselves");
    diary.forgive();
    let (_relay, _workers) = run(&site, diary.clone());
    diary.until("the rest is handled", |diary| diary.of("a").len() >= 100).await;
    assert_eq!(diary.of("a"), (0..100).collect::<Vec<_>>());
}

async fn duplicates_that_race_take_effect_once<D: Kind>() {
    let site = Arc::new(D::site().await);
    let inbox = Inbox::new();
    let event = uuid::Uuid::now_v7();
    let effects = Arc::new(AtomicU64::new(0));
    let outcomes = at_once(30, |client| {
        let (site, inbox, effects) = (Arc::clone(&site), inbox.clone(), Arc::clone(&effects));
        async move {
            loop {
                let mut tx = site.begin().await;
                match inbox.claim(&mut *tx, "mailer", event).await.unwrap() {
                    Received::First if client % 3 == 0 => {
                        // A third of them fail after the claim: nothing of it stays.
                        drop(tx);
                        return Received::First;
                    }
                    Received::First => {
                        effects.fetch_add(1, Ordering::SeqCst);
                        tx.commit().await.unwrap();
                        return Received::First;
                    }
                    Received::Duplicate => return Received::Duplicate,
                    Received::Busy => drop(tx),
                }
            }
        }
    })
    .await;
    assert_eq!(effects.load(Ordering::SeqCst), 1);
    assert!(outcomes.contains(&Received::Duplicate));
    // Another consumer has its own effect.
    let mut tx = site.begin().await;
    assert_eq!(inbox.claim(&mut *tx, "printer", event).await.unwrap(), Received::First);
    tx.commit().await.unwrap();
}

/// Answers each `test.numbered` event with one of type `test.answered`, once.
struct Answer<D: Kind> {
    source: Arc<dyn TxSource<D>>,
    outbox: Outbox,
    effects: AtomicU64,
    answers: Arc<Diary>,
}

#[async_trait]
impl<D: Kind> Handler for Answer<D> {
    async fn handle(&self, event: &Delivered) -> scalekit_core::Result<Outcome> {
        if event.kind() == "test.answered" {
            return self.answers.handle(event).await;
        }
        let mut tx = self.source.begin(&Principal::user("answer")).await?;
        match Inbox::new().claim(&mut *tx, "answer", event.id()).await? {
            Received::Duplicate => return Ok(Outcome::Done),
            Received::Busy => return Err(Error::new(ErrorKind::Conflict, "somebody is at it")),
            Received::First => {}
        }
        let number: u64 = event.json()?;
        let answer = scalekit_outbox::Event::new("test.answered", event.key(), &number)?;
        self.outbox.append(&mut *tx, answer).await?;
        // Every third attempt fails after the append, before the commit.
        if self.effects.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            return Err(Error::new(ErrorKind::Aborted, "as asked"));
        }
        tx.commit().await?;
        Ok(Outcome::Done)
    }
}

async fn a_handler_appends_in_the_transaction_of_its_claim<D: Kind>() {
    let site = D::site().await;
    let answers = Arc::new(Diary::default());
    let handler = Answer {
        source: Arc::clone(&site.source),
        outbox: site.outbox.clone(),
        effects: AtomicU64::new(0),
        answers: Arc::clone(&answers),
    };
    let (_relay, _workers) = run(&site, Arc::new(handler));
    site.append("a", 0..20).await;
    answers.until("all are answered", |answers| answers.of("a").len() >= 20).await;
    assert_eq!(answers.of("a"), (0..20).collect::<Vec<_>>(), "each is answered once and in order");
}

fn record(number: u64) -> Record {
    Record {
        id: uuid::Uuid::now_v7(),
        kind: "test.numbered".into(),
        source: "s".into(),
        key: "a".into(),
        time: String::new(),
        content_type: "application/json".into(),
        traceparent: None,
        headers: Default::default(),
        data: number.to_string().into(),
        position: LogPosition::new(0, 0, number),
    }
}

#[tokio::test]
async fn nothing_of_a_batch_passes_an_event_that_was_just_parked() {
    // Each event arrives when the one before it has its verdict.
    let sink = Arc::new(MemorySink::new(1));
    let diary = Arc::new(Diary::default());
    diary.on("a", 1, Act::Park { retry: false });
    let _consumer = Mortal::run(Arc::new(Consumer::of_memory(sink.clone(), diary.clone())));
    for round in 0..100 {
        let batch: Vec<Record> = (0..5).map(record).collect();
        let taken = sink.publish(&Lane::new("east", 0, 1), &batch).await;
        let Err(SinkError::Poison(parked)) = taken else { panic!("{taken:?}") };
        assert_eq!(parked.iter().map(|parked| parked.index).collect::<Vec<_>>(), [1]);
        assert_eq!(diary.of("a"), vec![0; round + 1]);
    }
}

/// Hangs at the first attempt of each event.
#[derive(Default)]
struct Hangs(Diary);

#[async_trait]
impl Handler for Hangs {
    async fn handle(&self, event: &Delivered) -> scalekit_core::Result<Outcome> {
        self.0.on("a", event.json()?, Act::Fail(1));
        match self.0.handle(event).await {
            Err(_) => std::future::pending().await,
            done => done,
        }
    }
}

#[tokio::test]
async fn a_handler_that_hangs_is_dropped_and_the_event_comes_again() {
    let sink = Arc::new(MemorySink::new(8));
    let hangs = Arc::new(Hangs::default());
    let consumer = Consumer::of_memory(sink.clone(), hangs.clone());
    let _consumer = Mortal::run(Arc::new(consumer.with_handler_timeout(Duration::from_millis(50))));
    sink.publish(&Lane::new("east", 0, 1), &[record(0), record(1)]).await.unwrap();
    assert_eq!(hangs.0.of("a"), [0, 1]);
    assert_eq!((hangs.0.tried("a", 0), hangs.0.tried("a", 1)), (2, 2));
}

/// Never ends, and says when it is called.
struct Endless(std::sync::mpsc::Sender<()>);

#[async_trait]
impl Handler for Endless {
    async fn handle(&self, _event: &Delivered) -> scalekit_core::Result<Outcome> {
        self.0.send(()).ok();
        loop {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_ends_parks_nothing() {
    // A pod whose runtime is dropped ends its tasks in any order: a handler's end is not its failure then.
    for round in 0..100 {
        let sink = Arc::new(MemorySink::new(8));
        let (called, calls) = std::sync::mpsc::channel();
        let pod = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let consumer = Consumer::of_memory(sink.clone(), Arc::new(Endless(called)));
        pod.spawn(async move { consumer.run(tokio_util::sync::CancellationToken::new()).await });
        let sent = tokio::spawn(async move { sink.publish(&Lane::new("east", 0, 1), &[record(0)]).await });
        tokio::task::block_in_place(|| calls.recv().unwrap());
        pod.shutdown_background();
        let sent = sent.await.unwrap();
        assert!(matches!(sent, Err(SinkError::Unavailable(_))), "round {round}: {sent:?}");
    }
}

#[tokio::test]
async fn the_memory_sink_refuses_an_owner_that_lost_its_lane() {
    let sink = Arc::new(MemorySink::new(8));
    let diary = Arc::new(Diary::default());
    let _consumer = Mortal::run(Arc::new(Consumer::of_memory(sink.clone(), diary.clone())));
    sink.publish(&Lane::new("east", 3, 5), &[record(0)]).await.unwrap();
    let late = sink.publish(&Lane::new("east", 3, 4), &[record(1)]).await;
    assert!(matches!(late, Err(SinkError::Fenced(_))), "{late:?}");
    sink.publish(&Lane::new("west", 3, 1), &[record(2)]).await.unwrap();
    assert_eq!(diary.of("a"), [0, 2]);
    tokio::time::timeout(Duration::from_millis(50), sink.publish(&Lane::new("east", 3, 6), &[]))
        .await
        .unwrap()
        .unwrap();
}
