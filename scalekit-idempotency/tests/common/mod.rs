//! An application with one keyed route on a real database, several times over as several processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, response::IntoResponse, routing::post};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use scalekit_core::{
    Principal,
    db::{self, Db, Postgres, Sqlite, Tx, TxSource},
    http::{Participants, Response},
};
use scalekit_idempotency::{Builder, Effect, Idempotency, Scoped};
use scalekit_testkit as kit;
use sqlx::Pool;
use tower::ServiceExt;

pub(crate) const PAYMENT: db::Migration = db::Migration {
    line: "test",
    version: 1,
    name: "payment",
    postgres: "create table payment (who text not null, cents bigint not null)",
    sqlite: "create table payment (who text not null, cents integer not null)",
};

/// A database, and what is needed to open more pools on it.
pub(crate) struct Store<D: Db> {
    pub(crate) pool: Pool<D>,
    pub(crate) sources: Vec<Arc<dyn TxSource<D>>>,
    pub(crate) keep: Option<tempdir::Dir>,
}

/// One process of the service.
pub(crate) struct App<D: Db> {
    pub(crate) idempotency: Idempotency<D>,
    pub(crate) router: Router,
    pub(crate) ran: Arc<AtomicUsize>,
}

/// What a handler is asked to do, as its JSON body's first word.
#[derive(Clone)]
pub(crate) struct Ran(pub(crate) Arc<AtomicUsize>);

struct Shared<D: Db>(Arc<dyn TxSource<D>>);

#[async_trait::async_trait]
impl<D: Db> TxSource<D> for Shared<D> {
    async fn begin(&self, who: &Principal) -> scalekit_core::Result<Tx<D>> {
        self.0.begin(who).await
    }
}

pub(crate) async fn postgres(processes: usize) -> Store<Postgres> {
    let database = kit::Postgres::shared().await.database().await;
    let pool = database.pool(4).await;
    db::migrate(&pool, &[db::MIGRATIONS, &[PAYMENT]]).await.unwrap();
    let mut sources: Vec<Arc<dyn TxSource>> = Vec::new();
    for _ in 0..processes {
        sources.push(Arc::new(db::PoolSource::new(database.pool(4).await)));
    }
    Store { pool, sources, keep: None }
}

pub(crate) async fn sqlite(processes: usize) -> Store<Sqlite> {
    let dir = tempdir::Dir::new();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(dir.path().join("test.db"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(5));
    let pool = sqlx::SqlitePool::connect_with(options.clone()).await.unwrap();
    db::migrate(&pool, &[db::MIGRATIONS, &[PAYMENT]]).await.unwrap();
    let lock = db::FileLock::default();
    let mut sources: Vec<Arc<dyn TxSource<Sqlite>>> = Vec::new();
    for _ in 0..processes {
        let own = sqlx::SqlitePool::connect_with(options.clone()).await.unwrap();
        sources.push(Arc::new(db::SqliteSource::new(own, lock.clone())));
    }
    Store { pool, sources, keep: Some(dir) }
}

impl<D: Db> Store<D> {
    pub(crate) fn builder(&self, process: usize) -> Builder<D, Scoped> {
        Idempotency::builder(Shared(Arc::clone(&self.sources[process]))).by_principal()
    }
}

/// Makes an application of a builder; a macro, since the statement's type depends on the database.
#[macro_export]
macro_rules! app_for {
    ($name:ident, $db:ty) => {
        pub(crate) fn $name(builder: Builder<$db, Scoped>) -> App<$db> {
            async fn pay(
                who: Principal,
                State(ran): State<Ran>,
                mut tx: Tx<$db>,
                parts: http::HeaderMap,
                body: String,
            ) -> Response {
                ran.0.fetch_add(1, Ordering::SeqCst);
                let word = body.split_whitespace().next().unwrap_or_default();
                let insert = sqlx::query("insert into payment (who, cents) values ($1, $2)")
                    .bind(who.id())
                    .bind(7_i64);
                if let Err(error) = insert.execute(&mut *tx).await {
                    return scalekit_core::Error::from(error).into_response();
                }
                match word {
                    "refuse" => StatusCode::CONFLICT.into_response(),
                    "decline" => {
                        let mut response = StatusCode::PAYMENT_REQUIRED.into_response();
                        response.extensions_mut().insert(Effect::Committed);
                        response
                    }
                    "panic" => panic!("the handler was told to"),
                    "hang" => std::future::pending().await,
                    "large" => "x".repeat(600_000).into_response(),
                    "leave" => {
                        tokio::spawn(async move {
                            std::future::pending::<()>().await;
                            drop(tx);
                        });
                        StatusCode::CREATED.into_response()
                    }
                    "swallow" => {
                        sqlx::query("insert into nothing values (1)").execute(&mut *tx).await.unwrap_err();
                        StatusCode::CREATED.into_response()
                    }
                    "slow" => {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        (StatusCode::CREATED, "slow").into_response()
                    }
                    _ => {
                        let mut response =
                            (StatusCode::CREATED, format!("paid {}", ran.0.load(Ordering::SeqCst)))
                                .into_response();
                        for (name, value) in
                            parts.iter().filter(|(name, _)| name.as_str().starts_with("x-echo"))
                        {
                            response.headers_mut().append(name, value.clone());
                        }
                        response
                    }
                }
            }
            let idempotency = builder.build().unwrap();
            let ran = Arc::new(AtomicUsize::new(0));
            let route = post(pay).layer(idempotency.layer());
            let router = Router::new()
                .route("/pay", route.clone())
                .route("/other", route)
                .with_state(Ran(Arc::clone(&ran)));
            App { idempotency, router, ran }
        }
    };
}
app_for!(postgres_app, Postgres);
app_for!(sqlite_app, Sqlite);

impl<D: Db> App<D> {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn pay(&self, key: &str, body: &str) -> Answer {
        self.send(request("ada", Some(key), body)).await
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(document["status"], self.status);
        document["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }
}

pub(crate) fn request(user: &str, key: Option<&str>, body: &str) -> Request<Body> {
    request_with(user, key, body, Participants::default())
}

pub(crate) fn request_with(
    user: &str,
    key: Option<&str>,
    body: &str,
    participants: Participants,
) -> Request<Body> {
    let mut request = Request::post("/pay").extension(Principal::user(user)).extension(participants);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

pub(crate) mod tempdir {
    //! A directory that goes with its value.
    use std::path::{Path, PathBuf};

    pub(crate) struct Dir(PathBuf);

    impl Dir {
        pub(crate) fn new() -> Self {
            let name = format!("scalekit-idempotency-{}", uuid::Uuid::now_v7());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}
