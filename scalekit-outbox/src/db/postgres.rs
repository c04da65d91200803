//! The outbox on Postgres.

use std::time::Duration;

use scalekit_core::{Error, ErrorKind, Result, db::Pooler};
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Ack, Aside, Batch, COUNTED, Held, Known, OutboxConnection, OutboxDb, Pending, Redriven, SWEPT, Who,
    headers_text, rows, sealed::Sealed, window,
};
use crate::{Event, Parked, lane_of, sql::postgres as sql};

impl Sealed for Postgres {}
impl Sealed for PgConnection {}
impl OutboxDb for Postgres {}

impl OutboxConnection for PgConnection {
    async fn append(&mut self, events: &[Event], pooler: Pooler) -> Result<()> {
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

    async fn balance(&mut self, who: &Who) -> Result<Held> {
        let (relay, lease) = (who.relay.to_string(), who.lease.as_secs_f64());
        let keep = who.pooler.keeps_statements();
        let alone: bool =
            sqlx::query_scalar(sql::BEAT).bind(&relay).persistent(keep).fetch_one(&mut *self).await?;
        sqlx::query(sql::GIVE)
            .bind(&relay)
            .bind(lease)
            .bind(busy(who))
            .persistent(keep)
            .execute(&mut *self)
            .await?;
        if alone {
            sqlx::query(sql::TAKE).bind(&relay).bind(lease).persistent(keep).execute(&mut *self).await?;
        }
        let row =
            sqlx::query(sql::MINE).bind(&relay).bind(lease).persistent(keep).fetch_one(&mut *self).await?;
        let (lanes, epochs): (Vec<i16>, Vec<i64>) = (row.try_get("lanes")?, row.try_get("epochs")?);
        let lanes = lanes.into_iter().zip(epochs).map(|(lane, epoch)| Ok((rows::lane(lane)?, epoch)));
        let (fair, moved) = (row.try_get("fair")?, row.try_get("moved")?);
        Ok(Held { lanes: lanes.collect::<Result<_>>()?, fair, moved })
    }

    async fn pending(&mut self, who: &Who) -> Result<Pending> {
        let row = sqlx::query(sql::PENDING)
            .bind(who.relay.to_string())
            .bind(busy(who))
            .persistent(who.pooler.keeps_statements())
            .fetch_one(self)
            .await?;
        Ok(Pending { events: row.try_get("events")?, parked: row.try_get("parked")? })
    }

    async fn rebase(&mut self, force: bool, pooler: Pooler) -> Result<Option<u64>> {
        let keep = pooler.keeps_statements();
        sqlx::query(sql::REBASE_BOUNDS).persistent(keep).execute(&mut *self).await?;
        sqlx::query(sql::REBASE_LOCK).persistent(keep).execute(&mut *self).await?;
        let look = sqlx::query(sql::REBASE_LOOK).persistent(keep).fetch_one(&mut *self).await?;
        if !(force || look.try_get("moved")?) {
            return Ok(None);
        }
        let snap: String = look.try_get("snap")?;
        let events: i64 =
            sqlx::query_scalar(sql::REBASE).bind(snap).persistent(keep).fetch_one(&mut *self).await?;
        sqlx::query(sql::REBASE_SEQ).persistent(keep).execute(self).await?;
        Ok(Some(events.unsigned_abs()))
    }

    async fn tick(&mut self, who: &Who) -> Result<i64> {
        let keep = who.pooler.keeps_statements();
        match sqlx::query_scalar(sql::TICK).persistent(keep).fetch_optional(&mut *self).await? {
            Some(tick) => Ok(tick),
            // Its commit is flushed, as ours would have been; what it does not see comes with the next look.
            None => Ok(sqlx::query_scalar(sql::NEWEST).persistent(keep).fetch_one(self).await?),
        }
    }

    async fn read(&mut self, who: &Who, tick: i64, known: &mut Known) -> Result<Vec<Batch>> {
        let keep = who.pooler.keeps_statements();
        let mut batches = window::due(self, who, tick).await?;
        // Their lanes open no window now: what follows must have a later tick than the parked events get.
        let mut busy = busy(who);
        busy.extend(batches.iter().map(|batch| i16::from(batch.lane)));
        sqlx::query(sql::OPEN)
            .bind(who.relay.to_string())
            .bind(&busy)
            .bind(tick)
            .persistent(keep)
            .execute(&mut *self)
            .await?;
        batches.extend(window::next(self, who, &busy, known).await?);
        Ok(batches)
    }

    async fn ack(&mut self, who: &Who, acks: &[Ack]) -> Result<Vec<u8>> {
        let keep = who.pooler.keeps_statements();
        let acked: Vec<i16> = sqlx::query_scalar(sql::ACK)
            .bind(who.relay.to_string())
            .bind(column(acks, |ack| i16::from(ack.lane)))
            .bind(column(acks, |ack| ack.epoch))
            .bind(column(acks, |ack| ack.seq))
            .bind(column(acks, |ack| ack.closed))
            .persistent(keep)
            .fetch_all(&mut *self)
            .await?;
        let acked = acked.into_iter().map(rows::lane).collect::<Result<Vec<_>>>()?;
        let aside: Vec<(u8, &Aside)> = acks
            .iter()
            .filter(|ack| acked.contains(&ack.lane))
            .flat_map(|ack| ack.aside.iter().map(|aside| (ack.lane, aside)))
            .collect();
        if !aside.is_empty() {
            sqlx::query(sql::PARK)
                .bind(column(&aside, |(lane, _)| i16::from(*lane)))
                .bind(column(&aside, |(_, aside)| aside.tick))
                .bind(column(&aside, |(_, aside)| aside.xid.as_str()))
                .bind(column(&aside, |(_, aside)| aside.seq))
                .bind(column(&aside, |(_, aside)| aside.reason.as_deref()))
                .bind(column(&aside, |(_, aside)| aside.retry))
                .persistent(keep)
                .execute(self)
                .await?;
        }
        Ok(acked)
    }

    async fn redriven(&mut self, who: &Who, redriven: &[Redriven]) -> Result<()> {
        let keep = who.pooler.keeps_statements();
        let relay = who.relay.to_string();
        let sent: Vec<(&Redriven, &(i64, i64))> =
            redriven.iter().flat_map(|lane| lane.sent.iter().map(move |place| (lane, place))).collect();
        sqlx::query(sql::UNPARK)
            .bind(&relay)
            .bind(column(&sent, |(lane, _)| i16::from(lane.lane)))
            .bind(column(&sent, |(lane, _)| lane.epoch))
            .bind(column(&sent, |(_, (tick, _))| *tick))
            .bind(column(&sent, |(_, (_, seq))| *seq))
            .persistent(keep)
            .execute(&mut *self)
            .await?;
        let refused: Vec<(&Redriven, &Aside)> =
            redriven.iter().flat_map(|lane| lane.refused.iter().map(move |aside| (lane, aside))).collect();
        sqlx::query(sql::REPARK)
            .bind(&relay)
            .bind(column(&refused, |(lane, _)| i16::from(lane.lane)))
            .bind(column(&refused, |(lane, _)| lane.epoch))
            .bind(column(&refused, |(_, aside)| aside.tick))
            .bind(column(&refused, |(_, aside)| aside.seq))
            .bind(column(&refused, |(_, aside)| aside.reason.as_deref()))
            .bind(column(&refused, |(_, aside)| aside.retry))
            .persistent(keep)
            .execute(self)
            .await?;
        Ok(())
    }

    async fn release(&mut self, who: &Who) -> Result<()> {
        let keep = who.pooler.keeps_statements();
        sqlx::query(sql::RELEASE).bind(who.relay.to_string()).persistent(keep).execute(self).await?;
        Ok(())
    }

    async fn tidy(&mut self, who: &Who) -> Result<u64> {
        let relay = who.relay.to_string();
        let keep = who.pooler.keeps_statements();
        sqlx::query(sql::ADVANCE).bind(&relay).bind(busy(who)).persistent(keep).execute(&mut *self).await?;
        let ticks = sqlx::query(sql::SWEEP_TICKS)
            .bind(SWEPT)
            .bind(who.lease.as_secs_f64() * 10.0)
            .persistent(keep)
            .execute(self)
            .await?;
        Ok(ticks.rows_affected())
    }

    async fn sweep(&mut self, who: &Who, retention: Duration) -> Result<u64> {
        let swept = sqlx::query(sql::SWEEP_EVENTS)
            .bind(who.relay.to_string())
            .bind(retention.as_secs_f64())
            .bind(SWEPT)
            .persistent(who.pooler.keeps_statements())
            .execute(self)
            .await?;
        Ok(swept.rows_affected())
    }

    async fn lag(&mut self, pooler: Pooler) -> Result<(f64, u64)> {
        let row =
            sqlx::query(sql::LAG).bind(COUNTED).persistent(pooler.keeps_statements()).fetch_one(self).await?;
        Ok((row.try_get("seconds")?, row.try_get::<i64, _>("events")?.unsigned_abs()))
    }

    async fn parked(&mut self, limit: u16, pooler: Pooler) -> Result<Vec<Parked>> {
        let found = sqlx::query(sql::PARKED)
            .bind(i64::from(limit))
            .persistent(pooler.keeps_statements())
            .fetch_all(self)
            .await?;
        found.iter().map(parked).collect()
    }

    async fn redrive(&mut self, event: Uuid, pooler: Pooler) -> Result<bool> {
        let done = sqlx::query(sql::REDRIVE)
            .bind(event.to_string())
            .persistent(pooler.keeps_statements())
            .execute(self)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

pub(super) fn column<'i, I, T>(items: &'i [I], part: impl Fn(&'i I) -> T) -> Vec<T> {
    items.iter().map(part).collect()
}

pub(super) fn busy(who: &Who) -> Vec<i16> {
    who.busy.iter().copied().map(i16::from).collect()
}

fn parked(row: &PgRow) -> Result<Parked> {
    let bad =
        |error| Error::new(ErrorKind::Corrupt, "the id of a parked event cannot be read").with_source(error);
    Ok(Parked {
        id: row.try_get::<&str, _>("id")?.parse().map_err(|error: uuid::Error| bad(error))?,
        kind: row.try_get("type")?,
        lane: rows::lane(row.try_get("lane")?)?,
        reason: row.try_get("reason")?,
        retry: row.try_get("retry")?,
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        seconds: row.try_get::<i64, _>("seconds")?.unsigned_abs(),
        behind: u32::try_from(row.try_get::<i64, _>("behind")?).unwrap_or(u32::MAX),
    })
}
