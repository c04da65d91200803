//! Round trips are the currency: each path's are counted on the wire.
//!
//! The handlers are those of a checkout: two statements for the order and its lines, one for the event.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::State,
    routing::{get, post},
};
use http::{Request, StatusCode, header};
use scalekit::{
    Error, KeyRing, Principal, Stack,
    db::{self, PoolSource, Pooler, Tx},
    idempotency::Idempotency,
    outbox::{self, Event, Outbox},
    redis::Redis,
    session::{Cookie, Counter, CounterMap, RedisStore, Session, Sessions},
};
use scalekit_testkit::{self as kit, Proxy};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tower::ServiceExt;

const CART: CounterMap = CounterMap::new("cart").dropping_empty();
const GENERATION: Counter = Counter::new("generation");

#[derive(Clone)]
struct Shop(Pooler);

async fn place(State(Shop(pooler)): State<Shop>, session: Session, mut tx: Tx) -> Result<StatusCode, Error> {
    let keep = pooler.keeps_statements();
    let cart = session.counter_map(CART).await?;
    let order = "insert into orders (quantity) values ($1)";
    sqlx::query(order).bind(cart["tea"]).persistent(keep).execute(&mut *tx).await?;
    let line = "insert into lines (sku, quantity) select * from unnest($1::text[], $2::bigint[])";
    let (skus, quantities): (Vec<_>, Vec<_>) = cart.clone().into_iter().unzip();
    sqlx::query(line).bind(skus).bind(quantities).persistent(keep).execute(&mut *tx).await?;
    Outbox::new().with_pooler(pooler).append(&mut *tx, Event::new("order.placed", "order-1", &cart)?).await?;
    for (sku, quantity) in cart {
        session.add(CART, &sku, -quantity)?;
    }
    session.incr(GENERATION, 1)?;
    Ok(StatusCode::CREATED)
}

async fn add(session: Session) -> Result<StatusCode, Error> {
    session.add(CART, "tea", 2)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sign_in(session: Session) -> Result<StatusCode, Error> {
    session.sign_in(&Principal::user("ada").tenant("acme"), "test").await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn show(session: Session) -> Result<String, Error> {
    Ok(format!("{:?}", session.counter_map(CART).await?))
}

/// The shop behind two counting proxies, on one database connection.
struct Counted {
    app: Router,
    postgres: Proxy,
    redis: Proxy,
    pool: PgPool,
    cookie: String,
    _server: kit::RedisServer,
}

impl Counted {
    async fn start(pooler: Pooler) -> Self {
        let (server, database) = (kit::Redis::start().await, kit::Postgres::shared().await.database().await);
        let direct = database.pool(1).await;
        db::migrate(&direct, &[db::MIGRATIONS, outbox::MIGRATIONS]).await.unwrap();
        let tables = "create table orders (quantity bigint); create table lines (sku text, quantity bigint)";
        sqlx::raw_sql(tables).execute(&direct).await.unwrap();

        let (postgres, redis) =
            (Proxy::to(kit::Postgres::shared().await.addr()).await, Proxy::to(server.addr()).await);
        let options = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
        let pool = options.connect(&database.url_via(postgres.addr())).await.unwrap();
        let source =
            PoolSource::new(pool.clone()).with_pooler(pooler).with_acquire_timeout(Duration::from_secs(10));
        let keys = Idempotency::builder(source).by_principal().with_pooler(pooler).build().unwrap();
        let store = RedisStore::new(Redis::open(&format!("redis://{}", redis.addr())).unwrap());
        let sessions =
            Sessions::builder(store, KeyRing::generate().unwrap()).cookie(Cookie::dev("id")).build().unwrap();
        let public = Router::new().route("/", get(|| async {})).route("/session", post(sign_in));
        let signed_in = Router::new().route("/cart", get(show)).route("/cart/items", post(add));
        let keyed = Router::new().route("/checkout", post(place)).with_state(Shop(pooler));
        let stack = Stack::new().sessions(&sessions).idempotency(&keys);
        let app = stack.public(public).signed_in(signed_in).keyed(keyed).into_router().unwrap();
        let mut counted = Self { app, postgres, redis, pool, cookie: String::new(), _server: server };
        counted.cookie = counted.sign_in().await;
        // Connections, scripts and statements are warm from here on.
        for key in ["warm", "warmer"] {
            assert_eq!(counted.trips("POST", "/cart/items", None).await.0, 204);
            assert_eq!(counted.trips("POST", "/checkout", Some(key)).await.0, 201);
        }
        counted
    }

    async fn sign_in(&self) -> String {
        let response =
            self.app.clone().oneshot(Request::post("/session").body(Body::empty()).unwrap()).await.unwrap();
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// Status, and the round trips to Postgres and Redis, those of the connection's release included.
    async fn trips(&self, method: &str, path: &str, key: Option<&str>) -> (u16, u64, u64) {
        self.idle().await;
        self.postgres.reset();
        self.redis.reset();
        let mut request = Request::builder().method(method).uri(path).header(header::COOKIE, &self.cookie);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        self.idle().await;
        (response.status().as_u16(), self.postgres.round_trips(), self.redis.round_trips())
    }

    async fn idle(&self) {
        let back = || async { self.pool.num_idle() == 1 };
        kit::wait_until("the connection is back in the pool", Duration::from_secs(10), back).await;
    }
}

#[tokio::test]
async fn a_checkout_is_seven_round_trips_to_postgres_and_two_to_redis() {
    let shop = Counted::start(Pooler::Direct).await;
    assert_eq!(shop.trips("GET", "/", None).await, (200, 0, 0), "a route without a session");
    assert_eq!(
        shop.trips("POST", "/cart/items", None).await,
        (204, 0, 2),
        "load for the principal, and the commit"
    );
    assert_eq!(shop.trips("GET", "/cart", None).await, (200, 0, 1), "a read");
    // BEGIN, claim, order, lines, event, finish, COMMIT with the position; and the pool's release.
    assert_eq!(shop.trips("POST", "/checkout", Some("k")).await, (201, 7 + 1, 2), "the checkout");
    // BEGIN, claim; and the release. The session is loaded, and told of the operation once more.
    assert_eq!(shop.trips("POST", "/checkout", Some("k")).await, (201, 2 + 1, 2), "its replay");
}

#[tokio::test]
async fn behind_a_pooler_that_does_not_follow_statements_each_is_prepared_anew() {
    let shop = Counted::start(Pooler::Legacy).await;
    assert_eq!(shop.trips("POST", "/cart/items", None).await, (204, 0, 2));
    // claim, order, lines, event and finish take two each.
    assert_eq!(shop.trips("POST", "/checkout", Some("k")).await, (201, 7 + 5 + 1, 2));
}
