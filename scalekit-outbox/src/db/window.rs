//! Reading the events between two snapshots on Postgres.

use std::collections::HashMap;

use scalekit_core::Result;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    BATCH_BYTES, BATCH_EVENTS, Batch, Known, Row, Who,
    known::{REMEMBERED, Window},
    postgres::{busy, column},
    rows::{self, Columns},
};
use crate::sql::postgres as sql;

/// Parked events that are due.
pub(super) async fn due(conn: &mut PgConnection, who: &Who, tick: i64) -> Result<Vec<Batch>> {
    let found = sqlx::query(sql::DUE)
        .bind(who.relay.to_string())
        .bind(busy(who))
        .bind(BATCH_EVENTS)
        .bind(tick)
        .bind(BATCH_BYTES)
        .persistent(who.pooler.keeps_statements())
        .fetch_all(conn)
        .await?;
    let mut batches: Vec<Batch> = Vec::new();
    for row in found {
        let lane = rows::lane(row.try_get("lane")?)?;
        if batches.last().is_none_or(|batch| batch.lane != lane) {
            let epoch = row.try_get("epoch")?;
            batches.push(Batch { lane, epoch, more: false, upto: 0, parked: true, rows: Vec::new() });
        }
        let (tick, place) = (row.try_get("tick")?, row.try_get("found")?);
        let position = rows::position(row.try_get("cluster")?, tick, place)?;
        let record = columns(&row)?.into_record(position)?;
        let place = (row.try_get("parked_tick")?, row.try_get("seq")?);
        if let Some(batch) = batches.last_mut() {
            batch.rows.push(Row { record, place, xid: String::new(), behind: false });
        }
    }
    Ok(batches)
}

/// The next batch of each open window.
pub(super) async fn next(
    conn: &mut PgConnection,
    who: &Who,
    busy: &[i16],
    known: &mut Known,
) -> Result<Vec<Batch>> {
    let mut batches = look(conn, who, busy, known).await?;
    let wanted: Vec<(u8, i64, i64)> = batches
        .iter()
        .flat_map(|next| next.places.iter().map(|(xid, seq)| (next.batch.lane, *xid, *seq)))
        .collect();
    let mut found: HashMap<u8, Vec<PgRow>> = HashMap::new();
    if !wanted.is_empty() {
        let fetched = sqlx::query(sql::FETCH)
            .bind(column(&wanted, |(lane, _, _)| i16::from(*lane)))
            .bind(column(&wanted, |(_, xid, _)| *xid))
            .bind(column(&wanted, |(_, _, seq)| *seq))
            .bind(BATCH_BYTES)
            .persistent(who.pooler.keeps_statements())
            .fetch_all(conn)
            .await?;
        for row in fetched {
            found.entry(rows::lane(row.try_get("lane")?)?).or_default().push(row);
        }
    }
    for next in &mut batches {
        let mut bytes = 0;
        for row in found.remove(&next.batch.lane).unwrap_or_default() {
            let seq: i64 = row.try_get("seq")?;
            let position = rows::position(next.cluster, next.tick, seq)?;
            let record = columns(&row)?.into_record(position)?;
            bytes += record.data.len() as i64;
            let (xid, behind) = (row.try_get("xid")?, row.try_get("behind")?);
            next.batch.rows.push(Row { record, place: (next.tick, seq), xid, behind });
        }
        // Events that somebody deleted by hand are passed over; those that did not fit come next.
        let cut = bytes >= BATCH_BYTES && next.batch.rows.len() < next.places.len();
        if let (true, Some(last)) = (cut, next.batch.rows.last()) {
            (next.batch.upto, next.batch.more) = (last.place.1, true);
        }
    }
    Ok(batches.into_iter().map(|next| next.batch).collect())
}

/// A batch whose events are still to be fetched.
struct Next {
    batch: Batch,
    cluster: i32,
    tick: i64,
    places: Vec<(i64, i64)>,
}

/// Which events come next on each lane with an open window; lanes whose turn to be looked into has not come are left
/// for the next time.
async fn look(conn: &mut PgConnection, who: &Who, busy: &[i16], known: &mut Known) -> Result<Vec<Next>> {
    let (skipped, looking) = (known.lanes(), (known.width(), known.looking()));
    let open = sqlx::query(sql::PLACES)
        .bind(who.relay.to_string())
        .bind(busy)
        .bind(skipped)
        .bind(REMEMBERED)
        .bind(looking.0)
        .persistent(who.pooler.keeps_statements())
        .fetch_all(conn)
        .await?;
    known.looked(&looking.1);
    let mut batches = Vec::new();
    let mut lanes = Vec::new();
    for row in open {
        let lane = rows::lane(row.try_get("lane")?)?;
        lanes.push(lane);
        let (epoch, tick, seq) = (row.try_get("epoch")?, row.try_get("tick")?, row.try_get("seq")?);
        if row.try_get("looked")? {
            let (xids, seqs): (Vec<i64>, Vec<i64>) = (row.try_get("xids")?, row.try_get("seqs")?);
            let all = (seqs.len() as i64) < REMEMBERED;
            known.learn(lane, Window { epoch, tick, places: xids.into_iter().zip(seqs).collect(), all });
        }
        let Some(window) = known.after(lane, epoch, tick, seq) else { continue };
        let places: Vec<_> = window.places.iter().take(BATCH_EVENTS as usize).copied().collect();
        let more = !window.all || window.places.len() > places.len();
        let upto = places.last().map_or(seq, |(_, seq)| *seq);
        let batch = Batch { lane, epoch, more, upto, parked: false, rows: Vec::new() };
        batches.push(Next { batch, cluster: row.try_get("cluster")?, tick, places });
    }
    // A busy lane is asked for again when its batch has come down.
    known.keep(|lane| lanes.contains(&lane) || busy.contains(&i16::from(lane)));
    Ok(batches)
}

fn columns(row: &PgRow) -> Result<Columns> {
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
