//! Requests in parallel, on one node and on several: what is kept, and what stays dead.

use std::{sync::Arc, time::Duration};

use scalekit_session::TowerSessionStore;
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};

use super::core::{
    SessionStore,
    session::{Id, Record, Session},
};
use crate::{
    common::{LONG, live_keys},
    fixture::Fixture,
};

async fn made(fixture: &Fixture, data: &[(&str, Value)]) -> Id {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut record =
        Record { id: Id::default(), data, expiry_date: fixture.within(Duration::from_secs(3_600)) };
    fixture.node().create(&mut record).await.unwrap();
    record.id
}

/// A request that has the session of this id.
fn request(node: &TowerSessionStore, id: Id) -> Session {
    Session::new(Some(id), Arc::new(node.clone()), None)
}

async fn read(fixture: &Fixture, id: Id) -> Option<Value> {
    fixture.node().load(&id).await.unwrap().map(|record| serde_json::to_value(record.data).unwrap())
}

#[tokio::test]
async fn requests_that_change_different_keys_lose_none() {
    for fixture in Fixture::all().await {
        let id = made(&fixture, &[("old", json!(1)), ("gone", json!(1)), ("kept", json!(1))]).await;
        let nodes = [fixture.node(), fixture.node(), fixture.node()];
        let all_have_read = Arc::new(Barrier::new(60));
        let mut requests = JoinSet::new();
        for at in 0..60 {
            // Twenty on each node, so that their loads and saves are in each other's way there too.
            let (session, all_have_read) = (request(&nodes[at % 3], id), all_have_read.clone());
            requests.spawn(async move {
                let _: Option<i32> = session.get("old").await.unwrap();
                all_have_read.wait().await;
                match at {
                    0 => session.insert("old", 2).await.unwrap(),
                    1 => drop(session.remove_value("gone").await.unwrap()),
                    _ => session.insert(&format!("k{at}"), at).await.unwrap(),
                }
                session.save().await.unwrap();
            });
        }
        requests.join_all().await;
        let mut wanted = json!({"old": 2, "kept": 1});
        for at in 2..60 {
            wanted[format!("k{at}")] = json!(at);
        }
        assert_eq!(read(&fixture, id).await.unwrap(), wanted);
        assert!(nodes.iter().all(|node| node.metrics() == Default::default()));
    }
}

#[tokio::test]
async fn a_request_that_saves_twice_sends_what_has_changed_in_between() {
    for fixture in Fixture::all().await {
        let id = made(&fixture, &[("a", json!(1))]).await;
        let node = fixture.node();
        let (first, other) = (request(&node, id), request(&node, id));
        first.insert("a", 2).await.unwrap();
        first.insert("b", 2).await.unwrap();
        first.save().await.unwrap();
        other.insert("a", 3).await.unwrap();
        other.insert("c", 3).await.unwrap();
        other.save().await.unwrap();
        first.remove_value("b").await.unwrap();
        first.save().await.unwrap();
        assert_eq!(read(&fixture, id).await.unwrap(), json!({"a": 3, "c": 3}));
        // What was created by the same request likewise.
        let new = Session::new(None, Arc::new(node.clone()), None);
        new.insert("a", 1).await.unwrap();
        new.save().await.unwrap();
        let other = request(&node, new.id().unwrap());
        other.insert("b", 1).await.unwrap();
        other.save().await.unwrap();
        new.insert("c", 1).await.unwrap();
        new.save().await.unwrap();
        assert_eq!(read(&fixture, new.id().unwrap()).await.unwrap(), json!({"a": 1, "b": 1, "c": 1}));
        assert_eq!(node.metrics(), Default::default());
    }
}

#[tokio::test]
async fn a_late_save_brings_no_session_back() {
    for fixture in Fixture::all().await {
        let nodes = [fixture.node(), fixture.node()];
        let id = made(&fixture, &[("a", json!(1))]).await;
        let (late, out) = (request(&nodes[0], id), request(&nodes[1], id));
        late.insert("a", 2).await.unwrap();
        out.flush().await.unwrap();
        late.save().await.unwrap();
        late.save().await.unwrap();
        assert_eq!(read(&fixture, id).await, None);
        assert_eq!(nodes[0].metrics().dropped, 2);

        let id = made(&fixture, &[("a", json!(1))]).await;
        let (late, login) = (request(&nodes[0], id), request(&nodes[1], id));
        late.insert("a", 2).await.unwrap();
        login.cycle_id().await.unwrap();
        login.save().await.unwrap();
        late.save().await.unwrap();
        assert_eq!(read(&fixture, id).await, None);
        assert_eq!(read(&fixture, login.id().unwrap()).await.unwrap(), json!({"a": 1}));
        assert_eq!(nodes[0].metrics().dropped, 3);
        if let Some(server) = &fixture.server {
            assert_eq!(live_keys(server).await.len(), 1, "only the session of the login is left");
        }
    }
}

#[tokio::test]
async fn saves_and_deletions_at_once_leave_no_session() {
    for fixture in Fixture::all().await {
        let nodes = [fixture.node(), fixture.node(), fixture.node()];
        for _ in 0..20 {
            let id = made(&fixture, &[("a", json!(1))]).await;
            let all_have_read = Arc::new(Barrier::new(6));
            let mut requests = JoinSet::new();
            for at in 0..6 {
                let (session, all_have_read) = (request(&nodes[at % 3], id), all_have_read.clone());
                requests.spawn(async move {
                    session.insert(&format!("k{at}"), at).await.unwrap();
                    all_have_read.wait().await;
                    match at {
                        3 => session.flush().await.unwrap(),
                        _ => session.save().await.unwrap(),
                    }
                });
            }
            requests.join_all().await;
            assert_eq!(read(&fixture, id).await, None);
        }
    }
}

#[tokio::test]
async fn a_record_of_unknown_origin_is_saved_as_a_whole() {
    for fixture in Fixture::all().await {
        let id = made(&fixture, &[("a", json!(1)), ("b", json!(1)), ("c", json!(1))]).await;
        let node = fixture.node();
        let mut copied = node.load(&id).await.unwrap().unwrap();
        // As a cache does that keeps bytes.
        copied.data = serde_json::from_str(&serde_json::to_string(&copied.data).unwrap()).unwrap();
        copied.data.remove("a");
        copied.data.insert("b".to_owned(), json!(2));
        node.save(&copied).await.unwrap();
        assert_eq!(read(&fixture, id).await.unwrap(), json!({"b": 2, "c": 1}));
        assert_eq!((node.metrics().whole, node.metrics().dropped), (1, 0));
        copied.data.remove("c");
        node.save(&copied).await.unwrap();
        assert_eq!(read(&fixture, id).await.unwrap(), json!({"b": 2}));
        assert_eq!((node.metrics().whole, node.metrics().dropped), (1, 0));

        node.delete(&id).await.unwrap();
        let mut copied = copied.clone();
        copied.data = copied.data.drain().collect();
        node.save(&copied).await.unwrap();
        assert_eq!(read(&fixture, id).await, None);
        assert_eq!((node.metrics().whole, node.metrics().dropped), (2, 1));
    }
}

#[tokio::test]
async fn each_operation_takes_the_round_trips_that_are_documented() {
    let fixture = Fixture::redis().await;
    let (node, server) = (fixture.node(), fixture.server.as_ref().unwrap());
    let warm = made(&fixture, &[("a", json!(1))]).await;
    let session = request(&node, warm);
    session.insert("a", 2).await.unwrap();
    session.save().await.unwrap();
    session.flush().await.unwrap();

    let scripts = async || {
        let stats = server.commandstats().await;
        server.reset_commandstats().await;
        ["evalsha", "eval", "hgetall"].map(|name| stats.get(name).copied().unwrap_or_default())
    };
    scripts().await;
    let mut record = Record {
        id: Id::default(),
        data: [("a".to_owned(), json!(1))].into(),
        expiry_date: fixture.within(Duration::from_secs(60)),
    };
    node.create(&mut record).await.unwrap();
    assert_eq!(scripts().await, [1, 0, 0]);
    let mut record = node.load(&record.id).await.unwrap().unwrap();
    assert_eq!(scripts().await, [0, 0, 1]);
    node.save(&record).await.unwrap();
    assert_eq!(scripts().await, [0, 0, 0], "nothing has changed");
    record.expiry_date += Duration::from_secs(60);
    node.save(&record).await.unwrap();
    // The script reads all fields only if the session grows.
    assert_eq!(scripts().await, [1, 0, 0]);
    node.delete(&record.id).await.unwrap();
    assert_eq!(scripts().await, [1, 0, 0]);
}

#[tokio::test]
async fn a_save_after_one_whose_answer_was_lost_takes_its_removals_along() {
    let fixture = Fixture::redis().await;
    let server = fixture.server.as_ref().unwrap();
    let id = made(&fixture, &[("a", json!(1))]).await;
    let node = fixture.node().budget(Duration::from_millis(200)).unwrap();
    let session = request(&node, id);
    // The server knows the script from then on.
    session.insert("a", 2).await.unwrap();
    session.save().await.unwrap();
    session.insert("b", 1).await.unwrap();
    server.pause().await;
    assert!(session.save().await.is_err());
    server.resume();
    let arrived = async || read(&fixture, id).await == Some(json!({"a": 2, "b": 1}));
    scalekit_testkit::wait_until("the commit is executed", LONG, arrived).await;
    session.remove_value("b").await.unwrap();
    let saved = async || session.save().await.is_ok();
    scalekit_testkit::wait_until("the store is up again", LONG, saved).await;
    assert_eq!(read(&fixture, id).await.unwrap(), json!({"a": 2}));
    assert!(node.metrics().whole >= 1);
}
