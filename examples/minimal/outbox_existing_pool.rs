//! Events from a service's own transaction: `cargo run -p scalekit --features full --example outbox_existing_pool URL`
use async_trait::async_trait;
use scalekit::db::{self, PoolSource};
use scalekit::outbox::{self, Consumer, Delivered, Event, Handler, MemorySink, Outbox, Outcome, Relay};
use scalekit::{Result, Workers};
use std::{sync::Arc, time::Duration};

struct Print;

#[async_trait]
impl Handler for Print {
    async fn handle(&self, event: &Delivered) -> Result<Outcome> {
        println!("{} {}", event.kind(), event.key());
        Ok(Outcome::Done)
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let pool =
        sqlx::PgPool::connect(&std::env::args().nth(1).ok_or("usage: outbox_existing_pool postgres://..")?)
            .await?;
    db::migrate(&pool, &[db::MIGRATIONS, outbox::MIGRATIONS]).await?;

    let outbox = Outbox::new();
    let sink = Arc::new(MemorySink::new(64));
    let relay =
        Relay::new("main", Arc::new(PoolSource::new(pool.clone())), sink.clone())?.with_outbox(&outbox);
    let mut workers = Workers::default();
    workers.spawn(Arc::new(relay));
    workers.spawn(Arc::new(Consumer::of_memory(sink, Arc::new(Print))));

    let mut tx = pool.begin().await?; // the service's own transaction, as before
    outbox.append(&mut *tx, Event::new("user.created", "ada", &"Ada")?).await?;
    tx.commit().await?;

    tokio::signal::ctrl_c().await?;
    workers.drain(Duration::from_secs(5)).await;
    Ok(())
}
