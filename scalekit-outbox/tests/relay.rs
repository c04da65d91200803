//! What a relay does on either database: nothing lost, order per key, lanes that change hands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use scalekit_core::{ErrorKind, Worker, Workers};
use scalekit_outbox::{Event, Outbox, Relay, Scaling, ScalingTarget, lane_of};
use scalekit_testkit::{Rng, seed, wait_until};
use support::{Halter, Kind, Ledger, Mortal, SOON, number, numbered, on_both};

on_both!(
    committed_events_arrive_in_order_and_rolled_back_ones_never,
    an_event_keeps_all_its_parts,
    append_outside_a_transaction_is_misuse,
    a_sink_that_is_down_delays_and_loses_nothing,
    a_poisoned_event_parks_its_key_only,
    a_parked_key_stays_in_order_until_it_is_redriven,
    two_relays_share_and_a_killed_ones_lanes_are_taken_over,
    a_relay_that_stops_lets_go_at_once,
    a_late_acknowledgement_of_a_halted_relay_is_refused,
    relays_that_are_killed_at_random_lose_and_reorder_nothing,
    lag_is_what_waits,
    old_events_are_deleted_once_they_are_relayed,
    a_large_backlog_and_large_events_come_in_order,
);

async fn committed_events_arrive_in_order_and_rolled_back_ones_never<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    let (_relay, _workers) = site.run(ledger.clone());
    let mut tx = site.begin().await;
    site.outbox.append(&mut *tx, numbered("a", 100)).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = site.begin().await;
    site.outbox.append(&mut *tx, numbered("a", 101)).await.unwrap();
    drop(tx);
    site.append("a", 0..300).await;
    site.append("b", 0..3).await;
    site.append("a", 300..310).await;
    ledger.until("all are there", |ledger| ledger.taken().len() >= 313).await;
    assert_eq!(ledger.of("a"), (0..310).collect::<Vec<_>>());
    assert_eq!(ledger.of("b"), [0, 1, 2]);
    for (lane, record) in ledger.taken() {
        assert_eq!((lane.database(), lane.number()), ("east", lane_of(&record.key)));
    }
}

async fn an_event_keeps_all_its_parts<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    let (_relay, _workers) = site.run(ledger.clone());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = Event::new("ö.placed", "schlüssel \"'\\", &7_u64).unwrap();
    let event = event.with_source("/shop").unwrap().with_header("tenant", "a\"'\\{}").unwrap();
    let event = event.with_traceparent(trace).unwrap();
    let raw = Event::raw("bytes", "k", "application/octet-stream", vec![0_u8, 255, 10]).unwrap();
    let mut tx = site.begin().await;
    site.outbox.append(&mut *tx, &[event.clone(), raw.clone()]).await.unwrap();
    tx.commit().await.unwrap();
    ledger.until("both are there", |ledger| ledger.taken().len() >= 2).await;
    let taken: HashMap<_, _> = ledger.taken().into_iter().map(|(_, record)| (record.id, record)).collect();
    let first = &taken[&event.id()];
    assert_eq!((first.kind.as_str(), first.key.as_str()), (event.kind(), event.key()));
    assert_eq!((first.source.as_str(), first.content_type.as_str()), ("/shop", "application/json"));
    assert_eq!((first.traceparent.as_deref(), first.data.as_ref()), (Some(trace), event.data()));
    assert_eq!(first.headers, BTreeMap::from([("tenant".to_owned(), "a\"'\\{}".to_owned())]));
    assert!(first.time.starts_with("20") && first.time.ends_with('Z'), "{}", first.time);
    let second = &taken[&raw.id()];
    assert_eq!(
        (second.content_type.as_str(), second.data.as_ref()),
        ("application/octet-stream", raw.data())
    );
    assert!(second.headers.is_empty() && second.traceparent.is_none());
}

async fn append_outside_a_transaction_is_misuse<D: Kind>() {
    let site = D::site().await;
    let mut tx = site.begin().await;
    let many = vec![numbered("k", 0); 1001];
    let error = site.outbox.append(&mut *tx, &many).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::TooLarge, "one call may append 1000 events, not 1001")
    );
    drop(tx);
    let mut conn = site.pool.acquire().await.unwrap();
    let error = site.outbox.append(&mut *conn, numbered("k", 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
}

async fn a_sink_that_is_down_delays_and_loses_nothing<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    ledger.set_down(true);
    let (relay, _workers) = site.run(ledger.clone());
    site.append("a", 0..5).await;
    wait_until("the event counts as waiting", SOON, async || relay.lag().await.unwrap().events == 5).await;
    site.append("a", 5..10).await;
    assert!(ledger.taken().is_empty());
    ledger.set_down(false);
    ledger.until("all are there", |ledger| ledger.of("a").len() >= 10).await;
    assert_eq!(ledger.of("a"), (0..10).collect::<Vec<_>>());
}

async fn a_poisoned_event_parks_its_key_only<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    let other = (0..).map(|n| format!("k{n}")).find(|key| lane_of(key) == lane_of("bad")).unwrap();
    ledger.poison("bad", 2, true);
    let (relay, _workers) = site.run(ledger.clone());
    site.append("bad", 0..5).await;
    site.append(&other, 0..5).await;
    ledger.until("the lane goes on", |ledger| ledger.of(&other).len() >= 5).await;
    site.append("bad", 5..7).await;
    site.append(&other, 5..7).await;
    ledger.until("the lane still goes on", |ledger| ledger.of(&other).len() >= 7).await;
    assert_eq!(ledger.of("bad"), [0, 1]);
    wait_until("all of the key are parked", SOON, async || {
        relay.parked(10).await.unwrap().first().is_some_and(|parked| parked.behind == 4)
    })
    .await;
    let parked = relay.parked(10).await.unwrap();
    assert_eq!((parked.len(), parked[0].reason.as_str(), parked[0].retry), (1, "as asked", true));
    assert_eq!((parked[0].kind.as_str(), parked[0].lane), ("test.numbered", lane_of("bad")));
    assert_eq!(relay.lag().await.unwrap().events, 0);
    // It is tried again by itself, and what came later follows it.
    ledger.heal();
    site.append("bad", 7..9).await;
    ledger.until("the key is whole", |ledger| ledger.of("bad").len() >= 9).await;
    assert_eq!(ledger.of("bad"), (0..9).collect::<Vec<_>>());
    wait_until("nothing is parked", SOON, async || relay.parked(10).await.unwrap().is_empty()).await;
}

async fn a_parked_key_stays_in_order_until_it_is_redriven<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    ledger.poison("bad", 0, false);
    let (relay, _workers) = site.run(ledger.clone());
    // More than one batch of parked events.
    site.append("bad", 0..400).await;
    wait_until("all are parked", SOON, async || {
        relay.parked(10).await.unwrap().first().is_some_and(|parked| parked.behind == 399)
    })
    .await;
    let parked = relay.parked(10).await.unwrap().remove(0);
    assert!(!parked.retry);
    ledger.heal();
    assert!(!relay.redrive(uuid::Uuid::now_v7()).await.unwrap());
    assert!(relay.redrive(parked.id).await.unwrap());
    site.append("bad", 400..402).await;
    ledger.until("the key is whole", |ledger| ledger.of("bad").len() >= 402).await;
    assert_eq!(ledger.of("bad"), (0..402).collect::<Vec<_>>());
    let places: Vec<_> = ledger.taken().into_iter().map(|(_, record)| record.position).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "a redriven event takes a later place in the log");
}

async fn two_relays_share_and_a_killed_ones_lanes_are_taken_over<D: Kind>() {
    let site = D::site().await;
    let (first, second) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let one = Mortal::run(Arc::new(site.relay(first.clone())));
    let two = Mortal::run(Arc::new(site.relay(second.clone())));
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    let mut round = 0;
    // Whoever came first owned all; the other gets its half.
    while first.taken().is_empty() || second.taken().is_empty() {
        for key in &keys {
            site.append(key, [round]).await;
        }
        round += 1;
        assert!(round < 1000, "one relay gets nothing");
    }
    one.kill().await;
    site.append("last", [0]).await;
    for key in &keys {
        site.append(key, [round]).await;
    }
    second
        .until("the lanes are taken over", |second| {
            let second = second.numbers();
            keys.iter().all(|key| second.get(key).is_some_and(|numbers| numbers.last() == Some(&round)))
        })
        .await;
    let (first, second) = (first.numbers(), second.numbers());
    for key in &keys {
        let seen: HashSet<u64> =
            first.get(key).into_iter().chain(second.get(key)).flatten().copied().collect();
        assert_eq!(seen.len() as u64, round + 1, "{key}");
    }
    two.kill().await;
}

async fn a_relay_that_stops_lets_go_at_once<D: Kind>() {
    let site = D::site().await;
    let (first, second) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let long = |sink| site.relay(sink).with_lease(Duration::from_secs(600));
    let mut workers = Workers::default();
    workers.spawn(Arc::new(long(first.clone())));
    site.append("a", 0..3).await;
    first.until("the first works", |first| first.of("a").len() == 3).await;
    let door = first.shut();
    site.append("a", 3..5).await;
    first.until_at_door(1).await;
    // A batch that is under way is let through and acknowledged.
    let drain = tokio::spawn(async move { workers.drain(SOON).await });
    door.add_permits(10);
    assert!(drain.await.unwrap());
    assert_eq!(first.of("a"), [0, 1, 2, 3, 4]);
    let mut workers = Workers::default();
    workers.spawn(Arc::new(long(second.clone())));
    site.append("a", 5..6).await;
    second.until("the second has the lanes", |second| !second.of("a").is_empty()).await;
    assert_eq!(second.of("a"), [5], "what was sent before the stop is not sent again");
}

async fn a_late_acknowledgement_of_a_halted_relay_is_refused<D: Kind>() {
    let site = D::site().await;
    let (first, second, third) =
        (Arc::new(Ledger::default()), Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let door = first.shut();
    let halter = Halter::on(&site);
    let one = Mortal::run(Arc::new(site.relay_on(halter.clone(), first.clone())));
    site.append("a", 0..3).await;
    first.until_at_door(1).await;
    // Its batch is taken, and it stands still before it can acknowledge.
    halter.halt();
    door.add_permits(10);
    first.until("the batch is there", |first| first.of("a").len() == 3).await;
    halter.until_held_up().await;
    // The second takes the lanes over when the lease has run out, and gets no answer from its sink.
    let _door = second.shut();
    let two = Mortal::run(Arc::new(site.relay(second.clone())));
    second.until_at_door(1).await;
    halter.resume().await;
    two.kill().await;
    one.kill().await;
    // The second died without an acknowledgement, so all must come again.
    let _three = Mortal::run(Arc::new(site.relay(third.clone())));
    third.until("the events come again", |third| third.of("a").len() >= 3).await;
    assert_eq!(third.of("a"), [0, 1, 2]);
    let (before, after) = (first.taken(), third.taken());
    for (lane, record) in before {
        let (later, same) = after.iter().find(|(_, other)| other.id == record.id).unwrap();
        assert!(lane.epoch() < later.epoch());
        assert_eq!(record.position, same.position, "a repetition has the same place in the log");
    }
}

async fn relays_that_are_killed_at_random_lose_and_reorder_nothing<D: Kind>() {
    let mut rng = Rng::new(seed());
    let site = Arc::new(D::site().await);
    let ledger = Arc::new(Ledger::default());
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    let writer = tokio::spawn({
        let (site, keys) = (Arc::clone(&site), keys.clone());
        async move {
            for number in 0..60 {
                for key in &keys {
                    site.append(key, [number]).await;
                }
            }
        }
    });
    let mut relays = Vec::new();
    let whole = |ledger: &Ledger| {
        let numbers = ledger.numbers();
        keys.iter().all(|key| numbers.get(key).is_some_and(|seen| seen.contains(&59)))
    };
    let start = Instant::now();
    let mut kills = 0;
    while kills < 12 || !whole(&ledger) {
        assert!(start.elapsed() < Duration::from_secs(90), "the events do not all arrive");
        if relays.len() < 3 {
            relays.push(Mortal::run(Arc::new(site.relay(ledger.clone()))));
        }
        tokio::time::sleep(Duration::from_millis(rng.below(300))).await;
        if kills < 12 && relays.len() > 1 {
            let victim: Mortal = relays.swap_remove(rng.below(relays.len() as u64) as usize);
            victim.kill().await;
            kills += 1;
        }
    }
    writer.await.unwrap();
    assert_whole_and_in_order(&ledger, &keys, 60);
}

/// Each key's numbers are all there; each repetition starts again at an earlier one and goes on without a gap, so
/// that the first appearances are in order; an event has the same id and place each time.
fn assert_whole_and_in_order(ledger: &Ledger, keys: &[String], count: u64) {
    let numbers = ledger.numbers();
    for key in keys {
        let mut next = 0;
        for number in &numbers[key] {
            assert!(*number <= next, "{key}: {number} came before {next}: {:?}", numbers[key]);
            next = next.max(number + 1);
        }
        assert_eq!(next, count, "{key}");
    }
    let mut seen = HashMap::new();
    for (_, record) in ledger.taken() {
        let known = seen.entry((record.key.clone(), number(&record))).or_insert((record.id, record.position));
        assert_eq!(*known, (record.id, record.position));
    }
}

async fn lag_is_what_waits<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    let relay = Arc::new(site.relay(ledger.clone()));
    assert_eq!(relay.lag().await.unwrap().events, 0);
    for n in 0..11 {
        site.append(&format!("k{n}"), 0..1000).await;
    }
    let lag = relay.lag().await.unwrap();
    assert_eq!((lag.events, lag.rate), (10_001, 0.0));
    assert!(lag.seconds > 0.0 && lag.seconds < 60.0, "{lag:?}");
    let scaling = Scaling::of([lag], &ScalingTarget::default());
    assert_eq!((scaling.lag_events, scaling.drain_eta_seconds, scaling.desired_replicas), (10_001, None, 2));
    let mut workers = Workers::default();
    workers.spawn(Arc::clone(&relay) as Arc<dyn Worker>);
    ledger.until("all are there", |ledger| ledger.taken().len() >= 11_000).await;
    wait_until("nothing waits", SOON, async || relay.lag().await.unwrap().events == 0).await;
    let lag = relay.lag().await.unwrap();
    assert!(lag.seconds == 0.0 && lag.rate > 0.0, "{lag:?}");
    assert_eq!(Scaling::of([lag], &ScalingTarget::default()).drain_eta_seconds, Some(0.0));
}

async fn old_events_are_deleted_once_they_are_relayed<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    ledger.poison("bad", 0, false);
    let relay = site.relay(ledger.clone()).with_retention(Duration::ZERO);
    let mut workers = Workers::default();
    workers.spawn(Arc::new(relay));
    site.append("a", 0..500).await;
    site.append("bad", [0]).await;
    ledger.until("all are there", |ledger| ledger.of("a").len() == 500).await;
    // A later event moves the snapshots on.
    site.append("b", [0]).await;
    let rows = || async {
        let mut tx = site.begin().await;
        let count = support::count_events(&mut tx).await;
        tx.commit().await.unwrap();
        count
    };
    wait_until("the table is almost empty", Duration::from_secs(40), async || rows().await <= 1).await;
    assert_eq!(ledger.of("a").len(), 500);
}

async fn a_large_backlog_and_large_events_come_in_order<D: Kind>() {
    let site = D::site().await;
    let ledger = Arc::new(Ledger::default());
    for thousand in 0..21 {
        site.append("a", thousand * 1000..thousand * 1000 + 1000).await;
    }
    let large = "x".repeat(600 << 10);
    let mut sizes = Vec::new();
    for _ in 0..5 {
        let event = Event::new("large", "b", &large).unwrap();
        sizes.push(event.id());
        let mut tx = site.begin().await;
        site.outbox.append(&mut *tx, event).await.unwrap();
        tx.commit().await.unwrap();
    }
    let (_relay, _workers) = site.run(ledger.clone());
    ledger.until("all are there", |ledger| ledger.taken().len() >= 21_005).await;
    assert_eq!(ledger.of("a"), (0..21_000).collect::<Vec<_>>());
    let large: Vec<_> = ledger.taken().into_iter().filter(|(_, record)| record.kind == "large").collect();
    assert_eq!(large.iter().map(|(_, record)| record.id).collect::<Vec<_>>(), sizes);
}

#[tokio::test]
async fn a_name_that_would_not_do_in_a_stream_is_refused() {
    let site = scalekit_core::db::Sqlite::site().await;
    for name in ["", "a{b", "a.b", &"x".repeat(65)] {
        let made = Relay::new(name, Arc::clone(&site.source), Arc::new(Ledger::default()));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Config, "{name:?}");
    }
    let outbox = Outbox::new();
    assert!(Relay::new("east-1_b", Arc::clone(&site.source), Arc::new(Ledger::default())).is_ok());
    outbox.waker().wake();
}
