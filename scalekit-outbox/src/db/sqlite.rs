//! The outbox on SQLite: one writer at a time, so the order of the rows is the order of the commits.

use scalekit_core::{Result, db::Pooler};
use sqlx::{Sqlite, SqliteConnection};

use super::{OutboxConnection, OutboxDb, headers_text, sealed::Sealed};
use crate::{Event, lane_of, sql::sqlite as sql};

impl Sealed for Sqlite {}
impl Sealed for SqliteConnection {}
impl OutboxDb for Sqlite {}

impl OutboxConnection for SqliteConnection {
    async fn append(&mut self, events: &[Event], _: Pooler) -> Result<()> {
        for event in events {
            sqlx::query(sql::APPEND)
                .bind(lane_of(&event.key))
                .bind(event.id.to_string())
                .bind(event.kind.as_str())
                .bind(event.source.as_str())
                .bind(event.key.as_str())
                .bind(event.content_type.as_str())
                .bind(event.traceparent.as_deref())
                .bind(headers_text(event))
                .bind(event.data.as_ref())
                .execute(&mut *self)
                .await?;
        }
        Ok(())
    }
}
