//! The outbox on Postgres.

use scalekit_core::{Result, db::Pooler};
use sqlx::{PgConnection, Postgres};

use super::{OutboxConnection, OutboxDb, headers_text, sealed::Sealed};
use crate::{Event, lane_of, sql::postgres as sql};

impl Sealed for Postgres {}
impl Sealed for PgConnection {}
impl OutboxDb for Postgres {}

impl OutboxConnection for PgConnection {
    async fn append(&mut self, events: &[Event], pooler: Pooler) -> Result<()> {
        fn column<'e, T>(events: &'e [Event], part: impl Fn(&'e Event) -> T) -> Vec<T> {
            events.iter().map(part).collect()
        }
        sqlx::query(sql::APPEND)
            .bind(column(events, |event| i16::from(lane_of(&event.key))))
            .bind(column(events, |event| event.id.to_string()))
            .bind(column(events, |event| event.kind.as_str()))
            .bind(column(events, |event| event.source.as_str()))
            .bind(column(events, |event| event.key.as_str()))
            .bind(column(events, |event| event.content_type.as_str()))
            .bind(column(events, |event| event.traceparent.as_deref()))
            .bind(column(events, headers_text))
            .bind(column(events, |event| event.data.as_ref()))
            .persistent(pooler.keeps_statements())
            .execute(self)
            .await?;
        Ok(())
    }
}
