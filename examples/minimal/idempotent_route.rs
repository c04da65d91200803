//! One route that never charges twice; the handler writes through `Tx`. Run:
//! `cargo run -p scalekit --features full --example idempotent_route postgres://localhost/shop`
use axum::{Extension, Router, http::StatusCode, routing::post};
use scalekit::db::{self, PoolSource, Tx};
use scalekit::{Error, Principal, idempotency::Idempotency};

async fn charge(who: Principal, mut tx: Tx, cents: String) -> Result<(StatusCode, String), Error> {
    let insert = "insert into charge (who, cents) values ($1, $2) returning id";
    let id: i64 = sqlx::query_scalar(insert).bind(who.id()).bind(cents).fetch_one(&mut *tx).await?;
    Ok((StatusCode::CREATED, format!("charge {id}")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: idempotent_route postgres://..")?;
    let pool = sqlx::PgPool::connect(&url).await?;
    db::migrate(&pool, &[db::MIGRATIONS]).await?;
    let table =
        "create table if not exists charge (id bigint generated always as identity, who text, cents text)";
    sqlx::query(table).execute(&pool).await?;

    let keys = Idempotency::builder(PoolSource::new(pool)).by_principal().build()?;
    let app = Router::new()
        .route("/charges", post(charge).layer(keys.layer())) // this route alone; take the layer away to go back
        .layer(Extension(Principal::user("ada"))); // in earnest from the session or a token

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
