//! Whatever a client sends, it gets a problem of a 4xx status, and nothing happens.

use reqwest::{
    Method, RequestBuilder,
    header::{CONTENT_TYPE, COOKIE, HeaderValue},
};
use scalekit_testkit::Rng;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::kit::{Answer, Browser, Shop, embedded, evidence, key, rng, size};

/// A request, and the statuses that fit it.
type Attack = (String, RequestBuilder, &'static [u16]);

/// All that a user can see of the own state.
async fn state(browser: &Browser) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in ["/session", "/cart", "/orders", "/sessions"] {
        let answer = browser.get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        seen.push(answer.json());
    }
    seen
}

fn header(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap()
}

/// What stands in the header as it is; the request has a cart to order, so only the header can be at fault.
fn keys(ada: &Browser) -> Vec<Attack> {
    let checkout = || ada.post("/checkout", &json!({"payment_token": "tok_visa"}));
    let long = |length| header(&vec![b'k'; length]);
    let with = |name: &str, value: HeaderValue| {
        (name.to_owned(), checkout().header("idempotency-key", value), &[400][..])
    };
    vec![
        ("no key".into(), checkout(), &[400]),
        with("an empty key", header(b"")),
        with("a key of nothing", header(b"\"\"")),
        with("half a quoted key", header(b"\"half")),
        with("a key that is no UTF-8", header(b"\xff\xfe\xc3\x28")),
        with("a key with a tab", header(b"a\tb")),
        with("256 bytes of key", long(256)),
        with("4 KiB of key", long(4 << 10)),
        with("300 KiB of key", long(300 << 10)),
        (
            "two keys".into(),
            checkout().header("idempotency-key", "one").header("idempotency-key", "two"),
            &[400],
        ),
    ]
}

fn bodies(ada: &Browser) -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    let mut body = |name: &str, path: &str, body: Vec<u8>, fits: &'static [u16]| {
        let request = ada.request(Method::POST, path).header(CONTENT_TYPE, "application/json");
        attacks.push((format!("{path}: {name}"), request.header("idempotency-key", key()).body(body), fits));
    };
    for path in ["/cart/items", "/checkout", "/session"] {
        body("nothing", path, Vec::new(), &[400, 422]);
        body("half a document", path, b"{\"sku\": \"mu".to_vec(), &[400]);
        body("two documents", path, b"{} {}".to_vec(), &[400, 422]);
        body("no UTF-8", path, b"{\"sku\": \"\xff\xfe\", \"quantity\": 1}".to_vec(), &[400, 422]);
        body("an array", path, b"[]".to_vec(), &[400, 422]);
        body("no field", path, b"{}".to_vec(), &[422]);
        body("deep nesting", path, [b"[".repeat(4000), b"]".repeat(4000)].concat(), &[400, 422]);
        body("more than a body may have", path, vec![b' '; 1 << 20], &[413]);
    }
    let items = [
        json!({"sku": "unobtainium", "quantity": 1}),
        json!({"sku": "", "quantity": 1}),
        json!({"sku": "mug\u{0}", "quantity": 1}),
        json!({"sku": "!version", "quantity": 1}),
        json!({"sku": "mug", "quantity": 0}),
        json!({"sku": "mug", "quantity": -1}),
        json!({"sku": "mug", "quantity": 1000}),
        json!({"sku": "mug", "quantity": i64::MAX}),
        json!({"sku": "mug", "quantity": u64::MAX}),
        json!({"sku": "mug", "quantity": 1.5}),
        json!({"sku": "mug", "quantity": "1"}),
        json!({"sku": "mug", "quantity": null}),
        json!({"sku": ["mug"], "quantity": 1}),
    ];
    for item in items {
        body(&item.to_string(), "/cart/items", item.to_string().into_bytes(), &[422]);
    }
    body("1e400 of it", "/cart/items", br#"{"sku": "mug", "quantity": 1e400}"#.to_vec(), &[400, 422]);
    for token in [json!(""), json!("t".repeat(256)), json!(1), json!(null), json!(["tok_visa"])] {
        body("a token", "/checkout", json!({"payment_token": token}).to_string().into_bytes(), &[422]);
    }
    for (tenant, user) in [("", "ada"), ("acme", ""), (&*"t".repeat(129), "ada"), ("acme", &*"ü".repeat(65))]
    {
        body("a name", "/session", json!({"tenant": tenant, "user": user}).to_string().into_bytes(), &[422]);
    }
    attacks
}

fn routes(ada: &Browser) -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    let plain = br#"{"sku": "mug", "quantity": 1}"#.to_vec();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "\u{1f980}"] {
        for path in ["/cart/items", "/checkout", "/session"] {
            let request = ada.request(Method::POST, path).header(CONTENT_TYPE, header(kind.as_bytes()));
            let request = request.header("idempotency-key", key()).body(plain.clone());
            attacks.push((format!("{path} as {kind:?}"), request, &[415]));
        }
    }
    let methods = [
        (Method::DELETE, "/cart"),
        (Method::PUT, "/cart/items"),
        (Method::GET, "/checkout"),
        (Method::PATCH, "/session"),
        (Method::POST, "/catalog"),
        (Method::from_bytes(b"BREW").unwrap(), "/"),
    ];
    for (method, path) in methods {
        attacks.push((
            format!("{method} {path}"),
            ada.request(method, path).header("idempotency-key", key()),
            &[405],
        ));
    }
    let long = format!("/orders/{}", "0".repeat(8 << 10));
    let paths = [
        "/nowhere",
        "/cart/",
        "/orders/",
        "/orders/1",
        "/orders/%ff%fe",
        "/orders/..%2f..%2fetc%2fpasswd",
        "/orders/'%20or%201=1",
        "/orders/00000000-0000-0000-0000-000000000000",
        &long,
    ];
    for path in paths {
        attacks.push((format!("GET {path:.60}"), ada.request(Method::GET, path), &[400, 404]));
    }
    attacks
}

/// What a stranger may have in the header: never a session, and never more than a refusal.
fn cookies(stranger: &Browser, genuine: &str, rng: &mut Rng) -> Vec<Attack> {
    let (name, value) = genuine.split_once('=').unwrap();
    let mut texts: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"=".to_vec(),
        b";;;;".to_vec(),
        name.as_bytes().to_vec(),
        format!("{name}=").into_bytes(),
        format!("{name}=\"{value}\"").into_bytes(),
        format!("{name}={value}.{value}").into_bytes(),
        format!("{name}={}", value.to_uppercase()).into_bytes(),
        format!("{name}={}", "A".repeat(64 << 10)).into_bytes(),
        format!("{name}={}", ".".repeat(1000)).into_bytes(),
        [format!("{name}=").as_bytes(), b"\xff\xfe\x80"].concat(),
        format!("x=1; {name}=%00%01; y=2").into_bytes(),
        format!("{name}=a; ").repeat(500).into_bytes(),
    ];
    for _ in 0..size(50, 2_000) {
        let length = rng.below(200) as usize;
        // All bytes that a header may have.
        let garbage =
            rng.bytes(length).into_iter().map(|byte| if byte < 32 || byte == 127 { b'.' } else { byte });
        texts.push(format!("{name}=").bytes().chain(garbage).collect());
    }
    let attack = |text: Vec<u8>| {
        let shown = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        (
            format!("cookie {shown:?}"),
            stranger.request(Method::GET, "/cart").header(COOKIE, header(&text)),
            &[401][..],
        )
    };
    texts.into_iter().map(attack).collect()
}

fn assert_refused(name: &str, fits: &[u16], answer: &Answer) {
    assert!(fits.contains(&answer.status.as_u16()), "{name}: {answer:?}");
    assert!(!answer.problem().is_empty(), "{name}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_change_nothing() {
    let mut rng = rng();
    let shop = Shop::start(&embedded().args(["--listen", "127.0.0.1:0"])).await;
    let ada = Browser::of(&shop.url, "acme", "ada").await;
    assert_eq!(ada.add("mug", 2).await.unwrap().status, 204);
    let before = state(&ada).await;
    let stranger = Browser::new(&shop.url);
    let mut attacks = cookies(&stranger, &ada.cookie().unwrap(), &mut rng);
    attacks.extend(keys(&ada));
    attacks.extend(bodies(&ada));
    attacks.extend(routes(&ada));
    let count = attacks.len();
    for (name, request, fits) in attacks {
        let answer = ada.send(request).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_refused(&name, fits, &answer);
    }
    assert_eq!(state(&ada).await, before);
    shop.assert_no_panic();
    let outcome = "each a problem of a fitting 4xx status, no state changed, no panic";
    evidence("bad input", &format!("{count} requests"), outcome);
}

#[tokio::test]
async fn everything_but_the_public_routes_wants_a_sign_in() {
    let shop = Shop::start(&embedded().args(["--listen", "127.0.0.1:0"])).await;
    let stranger = Browser::new(&shop.url);
    let public =
        ["/", "/catalog", "/recommendations", "/ops", "/metrics", "/healthz", "/readyz", "/scaling/outbox"];
    for path in public {
        let answer = stranger.get(path).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (200, None), "{path}");
    }
    let refused = [
        stranger.get("/session").await,
        stranger.get("/sessions").await,
        stranger.get("/cart").await,
        stranger.get("/orders").await,
        stranger.get("/orders/1").await,
        stranger.add("mug", 1).await,
        stranger.checkout(&key(), "tok_visa").await,
        stranger.send(stranger.request(Method::DELETE, "/session")).await,
        stranger.send(stranger.request(Method::DELETE, "/sessions")).await,
    ];
    for answer in refused {
        assert_refused("without a sign-in", &[401], &answer.unwrap());
    }
    assert_refused("an unknown path", &[404], &stranger.get("/nowhere").await.unwrap());
}

/// Sends these bytes; returns what came back before the connection was closed.
async fn raw(shop: &Shop, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(shop.url.trim_start_matches("http://")).await.unwrap();
    // A server that refuses in the middle may close before all is sent; what it said counts.
    let _sent_or_refused = stream.write_all(bytes).await;
    let _closed = stream.shutdown().await;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_no_http_is_refused_by_a_bare_4xx() {
    let shop = Shop::start(&embedded().args(["--listen", "127.0.0.1:0"])).await;
    let huge = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(2 << 20));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    let oversized = [huge.as_bytes(), many.as_bytes()];
    let malformed: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /checkout HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ];
    for bytes in oversized.into_iter().chain(malformed) {
        let answer = raw(&shop, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // A body that ends before its length says so was never a request.
    let ada = Browser::of(&shop.url, "acme", "ada").await;
    let cookie = ada.cookie().unwrap();
    let cut = format!(
        "POST /cart/items HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\ncontent-type: application/json\r\n\
         content-length: 99\r\n\r\n{{\"sku\": \"mug\", \"quantity\": 1}}"
    );
    let answer = raw(&shop, cut.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(ada.cart().await, []);
    shop.assert_no_panic();
}
