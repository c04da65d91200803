//! Latency histograms and an objective around an existing router. Run: `cargo run -p scalekit --features full --example slo`
use axum::{Router, extract::MatchedPath, routing::get};
use scalekit::slo::{CONTENT_TYPE, Objective, ObjectiveSet, Slo};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hello = Objective::new("hello").route(http::Method::GET, "/hello/{name}");
    let hello = hello.latency(Duration::from_millis(250)).target(0.99).availability(0.999);
    let slo = Slo::new(ObjectiveSet::builder("minimal").objective(hello).build()?);

    let metrics = slo.clone();
    let app = Router::new()
        .route(
            "/hello/{name}",
            get(|name: axum::extract::Path<String>| async move { format!("hello, {}", *name) }),
        )
        .route("/metrics", get(|| async move { ([("content-type", CONTENT_TYPE)], metrics.render()) }))
        .layer(slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
