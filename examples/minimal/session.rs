//! Sessions in Redis for an existing router: any process may answer any request. Run:
//! `cargo run -p scalekit --features full --example session redis://127.0.0.1:6379`
use axum::{Router, http::StatusCode, routing::get};
use scalekit::session::{Cookie, Counter, RedisStore, Session, Sessions};
use scalekit::{Error, KeyRing, redis::Redis};

const VISITS: Counter = Counter::new("visits");

async fn visit(session: Session) -> Result<StatusCode, Error> {
    session.incr(VISITS, 1)?; // recorded; one command after the handler, and two visits at once are two
    Ok(StatusCode::NO_CONTENT)
}

async fn visits(session: Session) -> Result<String, Error> {
    Ok(format!("{} visits", session.counter(VISITS).await?)) // loaded here, in one round trip
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: session redis://.. KEY-RING-FILE";
    let redis = Redis::open(&args.next().ok_or(usage)?)?;
    let ring = KeyRing::parse(&std::fs::read_to_string(args.next().ok_or(usage)?)?)?; // the same file everywhere
    let cookie = Cookie::dev("id"); // plain http on localhost; in earnest `Cookie::host("id")`, the default
    let sessions =
        Sessions::builder(RedisStore::new(redis), ring).namespace("minimal").cookie(cookie).build()?;

    let app = Router::new()
        .route("/visits", get(visits).post(visit))
        .route("/", get(|| async { "no session is looked at here, and none costs anything" }))
        .layer(sessions.layer());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
