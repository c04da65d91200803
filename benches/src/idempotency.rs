//! What a key costs a write, and what it prevents.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, body::Body, extract::State, routing::post};
use http::{Request, StatusCode};
use scalekit::{
    Error, Principal,
    db::{self, PoolSource, Tx},
    idempotency::Idempotency,
};
use scalekit_testkit::{Database, Postgres, PostgresServer, Proxy};
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};

use crate::{
    app::{self, Make},
    duel::{Case, Duel, Meter, block_on, table},
};

const CLIENTS: u32 = 8;
const INSERT: &str = "insert into charge (who, cents) values ('ada', 999)";

/// A handler's work outside the database takes this long in the storm.
pub const PAUSE: Duration = Duration::from_millis(20);

/// All of it but the storm.
pub fn run() {
    round_trips();
    rates(true);
    rates(false);
}

/// A server, and on it a database with our tables and the handler's.
pub async fn database(fsync: bool) -> (PostgresServer, Database) {
    let server = Postgres::builder().fsync(fsync).start().await;
    let database = server.database().await;
    let pool = database.pool(1).await;
    db::migrate(&pool, &[db::MIGRATIONS]).await.unwrap();
    pool.execute("create table charge (id bigint generated always as identity, who text, cents int)")
        .await
        .unwrap();
    (server, database)
}

/// The same write in the handler's own transaction.
fn bare(pool: PgPool) -> Router {
    async fn charge(State(pool): State<PgPool>) -> Result<StatusCode, Error> {
        let mut tx = pool.begin().await?;
        tx.execute(INSERT).await?;
        tx.commit().await?;
        Ok(StatusCode::CREATED)
    }
    Router::new().route("/charges", post(charge)).with_state(pool)
}

/// The write in the transaction of the key.
fn keyed(pool: PgPool) -> Router {
    async fn charge(mut tx: Tx) -> Result<StatusCode, Error> {
        tx.execute(INSERT).await?;
        Ok(StatusCode::CREATED)
    }
    let keys = Idempotency::builder(PoolSource::new(pool)).by_principal().build().unwrap();
    Router::new().route("/charges", post(charge).layer(keys.layer())).layer(Extension(Principal::user("ada")))
}

/// Requests each with a key of its own.
fn new_keys() -> Make {
    let next = AtomicU64::new(0);
    Arc::new(move || request(&format!("key-{}", next.fetch_add(1, Ordering::Relaxed))))
}

/// Requests all with one key.
fn one_key() -> Make {
    Arc::new(|| request("the-key"))
}

/// Compares the rate of writes; with fsync as in production, or without, where nothing hides the CPU's share.
fn rates(fsync: bool) {
    block_on(async {
        let (_server, database) = database(fsync).await;
        let title = if fsync {
            "Keyed write against the same write without a key: requests per second, 8 clients"
        } else {
            "The same on a server without fsync"
        };
        let cases = vec![
            case("handler's own transaction, no key", bare(database.pool(CLIENTS).await), new_keys()),
            case("scalekit: first request of a key", keyed(database.pool(CLIENTS).await), new_keys()),
            case("scalekit: replay of a key", keyed(database.pool(CLIENTS).await), one_key()),
        ];
        let duel = Duel { title, unit: "request", meter: Meter::Wall, rounds: 60, per_round: 80 };
        duel.run(cases).await;
    });
}

/// Counts the round trips of each path on one warm connection.
fn round_trips() {
    block_on(async {
        let (server, database) = database(false).await;
        let proxy = Proxy::to(server.addr()).await;
        let mut rows = Vec::new();
        for (name, key) in [
            ("handler's own transaction, no key", None),
            ("scalekit: first request of a key", Some(new_keys())),
            ("scalekit: replay of a key", Some(one_key())),
        ] {
            let url = database.url_via(proxy.addr());
            // No ping before use, so that what is counted is the request's own.
            let options = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
            let pool = options.connect(&url).await.unwrap();
            let mut app = if key.is_some() { keyed(pool) } else { bare(pool) };
            let make = key.unwrap_or_else(new_keys);
            for _ in 0..3 {
                app::send(&mut app, make()).await;
            }
            proxy.reset();
            for _ in 0..10 {
                assert_eq!(app::send(&mut app, make()).await.head.status, StatusCode::CREATED);
            }
            rows.push(vec![name.to_owned(), format!("**{:.1}**", proxy.round_trips() as f64 / 10.0)]);
        }
        table(
            "Round trips to Postgres of one request: the handler's INSERT, and what the pool does with the connection afterwards, included",
            &["", "round trips"],
            &rows,
        );
    });
}

/// A service of two processes (here two routers) that a storm of duplicates meets.
#[derive(Debug)]
pub struct Service {
    /// Its name in the table.
    pub name: &'static str,
    /// The routers; they share a store and nothing else.
    pub processes: [Router; 2],
    /// How often its handler has run.
    pub ran: Arc<AtomicU64>,
    /// What a client sends along with every request.
    pub cookie: Option<String>,
}

/// Ours on this database, with a handler that does something slow beside its write.
pub async fn stormy(database: &Database) -> Service {
    async fn charge(State(ran): State<Arc<AtomicU64>>, mut tx: Tx) -> Result<StatusCode, Error> {
        ran.fetch_add(1, Ordering::Relaxed);
        tx.execute(INSERT).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(StatusCode::CREATED)
    }
    let ran = Arc::new(AtomicU64::new(0));
    let process = |pool: PgPool| {
        let keys = Idempotency::builder(PoolSource::new(pool)).by_principal().build().unwrap();
        let route = post(charge).layer(keys.layer());
        Router::new()
            .route("/charges", route)
            .with_state(Arc::clone(&ran))
            .layer(Extension(Principal::user("ada")))
    };
    let processes = [process(database.pool(CLIENTS).await), process(database.pool(CLIENTS).await)];
    Service { name: "scalekit", processes, ran, cookie: None }
}

/// Sends 50 requests with one key at once to two processes, then one more, for 20 keys one after the other, and
/// counts executions. The one that comes late is the control: whoever replays it is wired up as it should be.
pub async fn storm(services: Vec<Service>) {
    const KEYS: u64 = 20;
    const DUPLICATES: usize = 50;
    let mut rows = Vec::new();
    for service in services {
        let (mut executed, mut most, mut late, mut succeeded) = (0, 0, 0, 0);
        for key in 0..KEYS {
            let before = service.ran();
            let answers =
                scalekit_testkit::at_once(DUPLICATES, |client| service.ask(client, format!("storm-{key}")))
                    .await;
            let in_storm = service.ran() - before;
            executed += in_storm;
            most = most.max(in_storm);
            succeeded += answers.iter().filter(|status| **status == StatusCode::CREATED).count();
            assert_eq!(service.ask(1, format!("storm-{key}")).await, StatusCode::CREATED, "{}", service.name);
            late += service.ran() - before - in_storm;
        }
        let mean = |count: u64| format!("{:.1}", count as f64 / KEYS as f64);
        let counts = [format!("**{}**", mean(executed)), most.to_string(), mean(late), succeeded.to_string()];
        rows.push([vec![service.name.to_owned()], counts.into()].concat());
    }
    let title = "50 requests with one key at once on two processes, then one more, for each of 20 keys";
    let columns = [
        "",
        "executions per key at once",
        "most for one key",
        "executions by the one more",
        "answered 201 of 1,000",
    ];
    table(title, &columns, &rows);
}

impl Service {
    fn ran(&self) -> u64 {
        self.ran.load(Ordering::Relaxed)
    }

    /// Sends a request as this client; the processes take turns.
    fn ask(&self, client: usize, key: String) -> impl Future<Output = StatusCode> + Send + 'static {
        let (mut app, cookie) = (self.processes[client % 2].clone(), self.cookie.clone());
        async move {
            let mut request = request(&key);
            if let Some(cookie) = cookie {
                request.headers_mut().insert(http::header::COOKIE, cookie.parse().unwrap());
            }
            app::send(&mut app, request).await.head.status
        }
    }
}

fn case(name: &str, app: Router, make: Make) -> Case {
    app::at_a_time(name, CLIENTS, app, make)
}

fn request(key: &str) -> Request<Body> {
    Request::post("/charges").header("idempotency-key", key).body(Body::from("999")).unwrap()
}
