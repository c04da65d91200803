//! The outbox on SQLite: one writer at a time, so the order of the rows is the order of the commits.

use std::time::Duration;

use scalekit_core::{Error, ErrorKind, Result, db::Pooler};
use sqlx::{Row as _, Sqlite, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    Ack, BATCH_BYTES, BATCH_EVENTS, Batch, COUNTED, Held, Known, OutboxConnection, OutboxDb, Pending,
    Redriven, Row, SWEPT, Who, headers_text,
    rows::{self, Columns},
    sealed::Sealed,
};
use crate::{Event, Parked, lane_of, sql::sqlite as sql};

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

    async fn balance(&mut self, who: &Who) -> Result<Held> {
        let (relay, lease) = (who.relay.to_string(), who.lease.as_secs_f64());
        sqlx::query(sql::BEAT).bind(&relay).execute(&mut *self).await?;
        sqlx::query(sql::GIVE).bind(&relay).bind(lease).bind(busy(who)).execute(&mut *self).await?;
        sqlx::query(sql::TAKE).bind(&relay).bind(lease).execute(&mut *self).await?;
        let mut held = Held::default();
        for row in sqlx::query(sql::MINE).bind(&relay).bind(lease).fetch_all(self).await? {
            held.lanes.push((rows::lane(row.try_get("lane")?)?, row.try_get("epoch")?));
            held.fair = row.try_get("fair")?;
        }
        Ok(held)
    }

    async fn pending(&mut self, who: &Who) -> Result<Pending> {
        let row =
            sqlx::query(sql::PENDING).bind(who.relay.to_string()).bind(busy(who)).fetch_one(self).await?;
        Ok(Pending { events: row.try_get("events")?, parked: row.try_get("parked")? })
    }

    async fn tick(&mut self, _: &Who) -> Result<i64> {
        Ok(0)
    }

    /// A file that is copied keeps the order of its rows.
    async fn rebase(&mut self, _: bool, _: Pooler) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn read(&mut self, who: &Who, _: i64, _: &mut Known) -> Result<Vec<Batch>> {
        let relay = who.relay.to_string();
        let mut batches = Vec::new();
        for lane in sqlx::query(sql::BUMP).bind(&relay).bind(busy(who)).fetch_all(&mut *self).await? {
            let number = rows::lane(lane.try_get("lane")?)?;
            let found = sqlx::query(sql::DUE)
                .bind(number)
                .bind(BATCH_EVENTS)
                .bind(BATCH_BYTES)
                .fetch_all(&mut *self)
                .await?;
            batches.push(gather(&lane, number, &found, true)?);
        }
        let mut who = who.clone();
        who.busy.extend(batches.iter().map(|batch| batch.lane));
        for lane in sqlx::query(sql::OPEN).bind(&relay).bind(busy(&who)).fetch_all(&mut *self).await? {
            let number = rows::lane(lane.try_get("lane")?)?;
            let found = sqlx::query(sql::READ)
                .bind(number)
                .bind(lane.try_get::<i64, _>("seq")?)
                .bind(BATCH_EVENTS)
                .bind(BATCH_BYTES)
                .fetch_all(&mut *self)
                .await?;
            batches.push(gather(&lane, number, &found, false)?);
        }
        Ok(batches)
    }

    async fn ack(&mut self, who: &Who, acks: &[Ack]) -> Result<Vec<u8>> {
        let mut acked = Vec::new();
        for ack in acks {
            let done = sqlx::query(sql::ACK)
                .bind(who.relay.to_string())
                .bind(ack.lane)
                .bind(ack.epoch)
                .bind(ack.seq)
                .execute(&mut *self)
                .await?;
            if done.rows_affected() == 0 {
                continue;
            }
            acked.push(ack.lane);
            for aside in &ack.aside {
                sqlx::query(sql::PARK)
                    .bind(ack.lane)
                    .bind(aside.seq)
                    .bind(aside.reason.as_deref())
                    .bind(aside.retry)
                    .execute(&mut *self)
                    .await?;
            }
        }
        Ok(acked)
    }

    async fn redriven(&mut self, who: &Who, redriven: &[Redriven]) -> Result<()> {
        let relay = who.relay.to_string();
        for lane in redriven {
            for (_, seq) in &lane.sent {
                let unpark = sqlx::query(sql::UNPARK).bind(lane.lane).bind(seq);
                let gone = unpark.bind(&relay).bind(lane.epoch).fetch_optional(&mut *self).await?;
                if let Some(gone) = gone {
                    let key: String = gone.try_get("key")?;
                    sqlx::query(sql::NEXT).bind(lane.lane).bind(key).execute(&mut *self).await?;
                }
            }
            for aside in &lane.refused {
                sqlx::query(sql::REPARK)
                    .bind(lane.lane)
                    .bind(aside.seq)
                    .bind(aside.reason.as_deref())
                    .bind(aside.retry)
                    .bind(&relay)
                    .bind(lane.epoch)
                    .execute(&mut *self)
                    .await?;
            }
        }
        Ok(())
    }

    async fn release(&mut self, who: &Who) -> Result<()> {
        let relay = who.relay.to_string();
        sqlx::query(sql::RELEASE_LANES).bind(&relay).execute(&mut *self).await?;
        sqlx::query(sql::RELEASE_RELAY).bind(&relay).execute(self).await?;
        Ok(())
    }

    async fn tidy(&mut self, who: &Who) -> Result<u64> {
        sqlx::query(sql::SWEEP_RELAYS).bind(who.lease.as_secs_f64() * 10.0).execute(self).await?;
        Ok(0)
    }

    async fn sweep(&mut self, who: &Who, retention: Duration) -> Result<u64> {
        let swept = sqlx::query(sql::SWEEP_EVENTS)
            .bind(who.relay.to_string())
            .bind(retention.as_secs_f64())
            .bind(SWEPT)
            .execute(self)
            .await?;
        Ok(swept.rows_affected())
    }

    async fn lag(&mut self, _: Pooler) -> Result<(f64, u64)> {
        let row = sqlx::query(sql::LAG).bind(COUNTED).fetch_one(self).await?;
        Ok((row.try_get("seconds")?, row.try_get::<i64, _>("events")?.unsigned_abs()))
    }

    async fn parked(&mut self, limit: u16, _: Pooler) -> Result<Vec<Parked>> {
        let found = sqlx::query(sql::PARKED).bind(i64::from(limit)).fetch_all(self).await?;
        found.iter().map(parked).collect()
    }

    async fn redrive(&mut self, event: Uuid, _: Pooler) -> Result<bool> {
        let done = sqlx::query(sql::REDRIVE).bind(event.to_string()).execute(self).await?;
        Ok(done.rows_affected() > 0)
    }
}

fn busy(who: &Who) -> String {
    serde_json::to_string(&who.busy).unwrap_or_default()
}

/// One lane's batch.
fn gather(lane: &SqliteRow, number: u8, found: &[SqliteRow], parked: bool) -> Result<Batch> {
    let tick: i64 = lane.try_get("tick")?;
    let mut batch =
        Batch { lane: number, epoch: lane.try_get("epoch")?, more: false, upto: 0, parked, rows: Vec::new() };
    for (index, row) in (1..).zip(found) {
        let seq: i64 = row.try_get("seq")?;
        let position = rows::position(0, tick, if parked { index } else { seq })?;
        batch.upto = seq;
        let behind = !parked && row.try_get("behind")?;
        let record = columns(row)?.into_record(position)?;
        batch.rows.push(Row { record, place: (0, seq), xid: String::new(), behind });
    }
    Ok(batch)
}

fn columns(row: &SqliteRow) -> Result<Columns> {
    Ok(Columns {
        id: row.try_get("id")?,
        kind: row.try_get("type")?,
        source: row.try_get("source")?,
        key: row.try_get("key")?,
        content_type: row.try_get("datacontenttype")?,
        traceparent: row.try_get("traceparent")?,
        headers: row.try_get("headers")?,
        data: row.try_get("data")?,
        time: row.try_get("time")?,
    })
}

fn parked(row: &SqliteRow) -> Result<Parked> {
    let bad =
        |error| Error::new(ErrorKind::Corrupt, "the id of a parked event cannot be read").with_source(error);
    Ok(Parked {
        id: row.try_get::<&str, _>("id")?.parse().map_err(|error: uuid::Error| bad(error))?,
        kind: row.try_get("type")?,
        lane: rows::lane(row.try_get("lane")?)?,
        reason: row.try_get("reason")?,
        retry: row.try_get("retry")?,
        attempts: row.try_get("attempts")?,
        seconds: row.try_get::<i64, _>("seconds")?.unsigned_abs(),
        behind: row.try_get("behind")?,
    })
}
