//! What a browser sees: cookies, sign-in and sign-out, lists of sessions, failures of the handler.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use axum::{
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
};
use common::{Browser, LONG, on_memory, on_redis, redis, ring, shop, signed_in, with};
use scalekit_core::KeyRing;
use scalekit_session::{Cookie, MemoryStore, SameSite, Sessions};
use scalekit_testkit::wait_until;
use serde_json::json;
use tower::ServiceExt;

#[tokio::test]
async fn a_request_that_uses_no_session_gets_no_header_and_stores_nothing() {
    let store = MemoryStore::new();
    let sessions = with(Sessions::builder(store.clone(), ring()));
    let app = shop(&sessions);
    let mut browser = Browser::new(&app);
    for path in ["/static", "/extracts", "/unknown"] {
        let answer = browser.get(path).await;
        assert!(answer.cookies().is_empty() && !answer.headers.contains_key(header::VARY), "{answer:?}");
    }
    let read = browser.get("/all").await;
    assert!(read.cookies().is_empty(), "a read made a session");
    assert_eq!(read.headers[header::VARY], "cookie");
    assert!(store.is_empty());
    assert_eq!(sessions.metrics(), scalekit_session::Metrics::default());
}

#[tokio::test]
async fn ten_thousand_cookieless_requests_leave_no_key() {
    let server = redis().await;
    let sessions = on_redis(&server.url());
    let app = shop(&sessions);
    for at in 0..10_000 {
        let path = ["/static", "/extracts", "/all", "/me", "/sessions"][at % 5];
        assert!(Browser::new(&app).get(path).await.cookies().is_empty());
    }
    assert_eq!(server.keys().await, Vec::<String>::new());
    assert_eq!(sessions.metrics().loads, 0);
}

#[tokio::test]
async fn a_guests_first_write_makes_a_session_and_one_cookie() {
    let app = shop(&on_memory());
    let mut browser = Browser::new(&app);
    let first = browser.post("/cart/tea/2").await;
    let [cookie] = first.cookies().try_into().unwrap();
    assert!(cookie.starts_with("id=") && !cookie.contains("Secure"), "{cookie}");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(first.headers[header::CACHE_CONTROL], "private, no-cache");
    for path in ["/cart/tea/1", "/cart/milk/1", "/cart/milk/-1", "/views", "/locale/de", "/note/a"] {
        let answer = browser.post(path).await;
        assert!(answer.status.is_success() && answer.cookies().is_empty(), "{path}: {answer:?}");
    }
    let seen = browser.get("/all").await.json();
    assert_eq!(
        (&seen["cart"], &seen["views"], &seen["locale"], &seen["notes"], &seen["user"]),
        (&json!({"tea": 3}), &json!(1), &json!("de"), &json!(["a"]), &json!(null))
    );
}

#[tokio::test]
async fn the_host_cookie_is_secure_and_the_default() {
    let sessions = Sessions::builder(MemoryStore::new(), ring()).build().unwrap();
    let mut browser = Browser::new(&shop(&sessions));
    let given = browser.post("/views").await.cookies().remove(0);
    assert!(
        given.starts_with("__Host-id=") && given.contains("Secure") && given.contains("Path=/"),
        "{given}"
    );
    assert!(!given.contains("Domain"), "{given}");
    assert_eq!(browser.get("/all").await.json()["views"], 1);
    let taken = browser.post("/sign-out").await.cookies().remove(0);
    for part in ["__Host-id=;", "Secure", "Path=/", "Max-Age=0", "HttpOnly"] {
        assert!(taken.contains(part), "browsers would ignore the removal: {taken}");
    }
}

#[tokio::test]
async fn sign_in_rotates_and_keeps_what_the_guest_held() {
    let app = shop(&on_memory());
    let mut browser = Browser::new(&app);
    browser.post("/cart/tea/2").await;
    let before = browser.get("/all").await.json();
    let guest = browser.clone();
    browser.post("/sign-in/acme/ada").await;
    assert_ne!(browser.cookie, guest.cookie, "the id was not rotated");
    let after = browser.get("/all").await.json();
    assert_eq!((&after["cart"], &after["user"]), (&json!({"tea": 2}), &json!(["acme", "ada"])));
    assert_eq!(after["lineage"], before["lineage"]);
    assert_eq!(browser.get("/me").await.json(), json!(["acme", "ada"]));
    // Whoever knew the guest's id has nothing, once the new one was used.
    wait_until("the guest's session has ended", LONG, async || {
        let planted = guest.send_only("GET", "/all", "").await.json();
        assert_eq!(planted["user"], json!(null));
        planted["cart"] == json!({})
    })
    .await;
    assert_eq!(guest.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);

    // Again the same user: rotated, kept, one session.
    let first = browser.clone();
    browser.post("/sign-in/acme/ada").await;
    let again = browser.get("/all").await.json();
    assert_eq!((&again["cart"], &again["lineage"]), (&after["cart"], &after["lineage"]));
    assert_eq!(first.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn over_another_users_session_the_new_one_starts_empty() {
    for (tenant, user) in [("acme", "bob"), ("globex", "ada")] {
        let app = shop(&on_memory());
        let mut browser = signed_in(&app, "acme", "ada").await;
        browser.post("/cart/tea/2").await;
        let ada = browser.clone();
        let before = browser.get("/all").await.json();
        browser.post(&format!("/sign-in/{tenant}/{user}")).await;
        let after = browser.get("/all").await.json();
        assert_eq!((&after["cart"], &after["user"]), (&json!({}), &json!([tenant, user])));
        assert_ne!(after["lineage"], before["lineage"]);
        assert_eq!(ada.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    }
}

/// Browsers send a cookie that a script has set as the bytes that it holds.
#[tokio::test]
async fn no_byte_of_another_cookie_hides_ours() {
    let app = shop(&on_memory());
    let ours = signed_in(&app, "acme", "ada").await.cookie.unwrap();
    let request = |cookie: Vec<u8>| {
        let cookie = HeaderValue::from_bytes(&cookie).unwrap();
        Request::get("/me").header(header::COOKIE, cookie).body(Body::empty()).unwrap()
    };
    for byte in (0x20..=0xff).filter(|byte| ![b';', 0x7f].contains(byte)) {
        let other = [b"name=".as_slice(), &[byte], b"x"].concat();
        for cookies in [[other.as_slice(), ours.as_bytes()], [ours.as_bytes(), other.as_slice()]] {
            let answer = app.clone().oneshot(request(cookies.join(b"; ".as_slice()))).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "byte {byte:#x}");
        }
        if !byte.is_ascii() {
            let answer = app.clone().oneshot(request([ours.as_bytes(), &[byte]].concat())).await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "byte {byte:#x} in ours");
        }
    }
}

#[tokio::test]
async fn devices_are_listed_and_revoked() {
    let app = shop(&on_memory());
    let mut phone = signed_in(&app, "acme", "ada").await;
    let mut laptop = Browser::new(&app);
    laptop.agent = "laptop";
    laptop.post("/sign-in/acme/ada").await;
    let mut other = signed_in(&app, "globex", "ada").await;

    let listed = laptop.get("/sessions").await.json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    let current: Vec<_> = listed.iter().filter(|one| one["current"] == true).collect();
    assert!(matches!(current[..], [one] if one["device"] == "laptop"), "{listed:?}");
    assert_ne!(listed[0]["id"], listed[1]["id"]);
    assert!(!laptop.cookie.as_ref().unwrap().contains(listed[0]["id"].as_str().unwrap()));

    assert_eq!(laptop.post("/revoke/others").await.body, b"1");
    assert_eq!(phone.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(laptop.get("/me").await.status, StatusCode::OK);
    assert_eq!(other.get("/me").await.status, StatusCode::OK, "another tenant's user was signed out");
    phone.post("/sign-in/acme/ada").await;
    let all = laptop.post("/revoke/all").await;
    assert_eq!(all.body, b"2");
    assert!(all.cookies()[0].contains("Max-Age=0"));
    assert_eq!(phone.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(Browser::new(&app).post("/revoke/all").await.body, b"0");
}

#[tokio::test]
async fn rotation_of_the_ring_keeps_sessions_lists_and_revocations() {
    let store = MemoryStore::new();
    let (old, new) = (("old", [1; 32]), ("new", [2; 32]));
    let node = |keys: &[(&'static str, [u8; 32])]| {
        shop(&with(Sessions::builder(store.clone(), KeyRing::from_keys(keys.iter().copied()).unwrap())))
    };
    let (first, second, third) = (node(&[old]), node(&[old, new]), node(&[new, old]));
    let before = signed_in(&first, "acme", "ada").await;
    let mut after = signed_in(&third, "acme", "ada").await;
    for app in [&second, &third] {
        assert_eq!(before.on(app).get("/me").await.status, StatusCode::OK);
        assert_eq!(after.on(app).get("/me").await.status, StatusCode::OK);
        assert_eq!(after.on(app).get("/sessions").await.json().as_array().unwrap().len(), 2);
    }
    assert_eq!(after.post("/revoke/all").await.body, b"2");
    assert!(store.is_empty());
    let dropped = signed_in(&first, "acme", "ada").await;
    assert_eq!(dropped.on(&node(&[new])).get("/me").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_failing_handler_commits_nothing() {
    let store = MemoryStore::new();
    let app = shop(&with(Sessions::builder(store.clone(), ring())));
    let mut browser = Browser::new(&app);
    browser.post("/cart/tea/2").await;
    let before = browser.get("/all").await.json();
    let failed = browser.post("/fails/ada").await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(failed.cookies().is_empty());
    let panicked = tokio::spawn({
        let browser = browser.clone();
        async move { browser.send_only("POST", "/panics", "").await }
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(browser.get("/all").await.json(), before);
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn a_missing_layer_is_one_clear_error() {
    let app =
        axum::Router::new().route("/", axum::routing::get(|_: scalekit_session::Session| async { "never" }));
    let answer = Browser::new(&app).get("/").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
}

#[tokio::test]
async fn bad_configuration_fails_at_construction() {
    use std::time::Duration;
    let builder = || Sessions::builder(MemoryStore::new(), ring());
    let bad = [
        builder().namespace("a{b"),
        builder().namespace(""),
        builder().cookie(Cookie::dev("a;b")),
        builder().cookie(Cookie::dev("")),
        builder().idle(Duration::ZERO),
        builder().idle(Duration::from_secs(10)).absolute(Duration::from_secs(9)),
        builder().absolute(Duration::from_secs(401 * 86_400)),
        builder().size(0, 1),
        builder().sessions_per_user(0),
        builder().request_budget(Duration::ZERO),
    ];
    for builder in bad {
        assert_eq!(builder.build().unwrap_err().kind(), scalekit_core::ErrorKind::Config);
    }
}

#[tokio::test]
async fn limits_are_413_and_422() {
    let store = MemoryStore::new();
    let sessions = with(Sessions::builder(store.clone(), ring()).size(20, 2_000));
    let app = shop(&sessions);
    let mut browser = Browser::new(&app);
    browser.post("/views").await;
    let large = "v".repeat(3_000);
    assert_eq!(browser.send("POST", "/field/1", &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = "s".repeat(129);
    assert_eq!(browser.post(&format!("/cart/{long}/1")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(browser.post("/cart/tea/1000000000001").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let user = "u".repeat(257);
    assert_eq!(browser.post(&format!("/sign-in/t/{user}")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(browser.get("/all").await.json()["views"], 1);
    for at in 0..40 {
        browser.post(&format!("/cart/sku{at}/1")).await;
    }
    assert!(browser.get("/all").await.json()["cart"].as_object().unwrap().len() <= 20);
}

#[tokio::test]
async fn a_cookie_for_frames_is_secure_and_partitioned() {
    let embedded = Cookie::host("id").same_site(SameSite::None).partitioned();
    let sessions = Sessions::builder(MemoryStore::new(), ring()).cookie(embedded).build().unwrap();
    let mut browser = Browser::new(&shop(&sessions));
    for cookie in [browser.post("/views").await.cookies(), browser.post("/sign-out").await.cookies()] {
        for part in ["SameSite=None", "Secure", "Partitioned", "Path=/", "HttpOnly"] {
            assert!(cookie[0].contains(part), "{cookie:?}");
        }
    }
    let strict =
        Sessions::builder(MemoryStore::new(), ring()).cookie(Cookie::host("id").same_site(SameSite::Strict));
    let given = Browser::new(&shop(&strict.build().unwrap())).post("/views").await.cookies();
    assert!(given[0].contains("SameSite=Strict") && !given[0].contains("Partitioned"), "{given:?}");
    for refused in [Cookie::dev("id").partitioned(), Cookie::dev("id").same_site(SameSite::None)] {
        let error = Sessions::builder(MemoryStore::new(), ring()).cookie(refused).build().unwrap_err();
        assert!(error.to_string().contains("Secure"), "{error}");
    }
}

#[tokio::test]
async fn a_large_session_is_served_and_counted() {
    let sessions = with(Sessions::builder(MemoryStore::new(), ring()).soft_size(1_000));
    let mut browser = Browser::new(&shop(&sessions));
    browser.send("POST", "/field/1", &"v".repeat(900)).await;
    browser.get("/all").await;
    assert_eq!(sessions.metrics().large, 0);
    browser.send("POST", "/field/2", &"v".repeat(200)).await;
    assert_eq!(browser.get("/all").await.status, StatusCode::OK);
    assert_eq!(sessions.metrics().large, 1);
}
