//! Postgres: how it commits with a position, claims, finishes and migrates.

use std::time::Duration;

use sqlx::{
    Either, PgConnection, Postgres, Row,
    error::DatabaseError,
    pool::PoolConnection,
    postgres::{PgDatabaseError, PgRow, PgSeverity},
    raw_sql,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Answer, Claim, ClaimId, Claimed, Db, DbConnection, Finished, Migration,
    backend::sealed::Sealed,
    claim::not_claimed,
    error::is_gone,
    migrate,
    sql::postgres::{CLAIM, CLAIM_LOOKUP, COMMIT, FINISH, SWEEP_CLAIMS},
    tx::{close, queue_rollback, release},
};
use crate::{Error, ErrorKind, Position, Result};

impl Sealed for Postgres {}
impl Sealed for PgConnection {}

impl Db for Postgres {
    const BEGIN: Option<&'static str> = None;

    fn abandon(mut conn: PoolConnection<Self>, _: Option<OwnedSemaphorePermit>) {
        queue_rollback(&mut conn);
        release(conn);
    }

    fn interrupt(conn: PoolConnection<Self>, _: Option<OwnedSemaphorePermit>) {
        close(conn);
    }
}

impl DbConnection for PgConnection {
    type Db = Postgres;

    async fn commit_with_position(&mut self) -> Result<Position> {
        use futures_util::TryStreamExt;

        let mut answers = raw_sql(COMMIT).fetch_many(&mut *self);
        let (mut completed, mut flushes, mut position) = (0, true, None);
        loop {
            match answers.try_next().await {
                Ok(Some(Either::Left(_))) => completed += 1,
                Ok(Some(Either::Right(row))) if completed == 0 => {
                    flushes = row.try_get::<&str, _>(0).is_ok_and(|setting| setting != "off");
                }
                Ok(Some(Either::Right(row))) => {
                    position = row.try_get::<&str, _>(usize::from(!flushes)).ok().map(str::parse::<Position>);
                }
                Ok(None) => break,
                Err(error) => return Err(commit_failed(error, completed)),
            }
        }
        // It is committed by now: a position that is missing or unreadable must not look like bad input.
        position.and_then(Result::ok).ok_or_else(|| unknown("the COMMIT returned no position"))
    }

    async fn claim(&mut self, claim: &Claim) -> Result<Claimed> {
        let taken = sqlx::query(CLAIM)
            .bind(claim.id.as_bytes().as_slice())
            .bind(claim.fingerprint.as_deref())
            .bind(claim.retention.as_secs_f64())
            .bind(millis(claim.lock_wait))
            .bind(millis(claim.deadline))
            .bind(millis(claim.deadline))
            .bind(millis(claim.deadline))
            .persistent(claim.pooler.keeps_statements())
            .fetch_optional(&mut *self)
            .await;
        let row = match taken {
            Ok(row) => row,
            Err(sqlx::Error::Database(answer)) if answer.code().as_deref() == Some("55P03") => {
                return Ok(Claimed::Busy);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(row) = row {
            return read(&claim.id, &row);
        }
        let row = sqlx::query(CLAIM_LOOKUP)
            .bind(claim.id.as_bytes().as_slice())
            .bind(millis(claim.deadline))
            .persistent(claim.pooler.keeps_statements())
            .fetch_optional(&mut *self)
            .await?;
        // It can only have expired and been swept since: whoever tries again takes it.
        row.map_or(Ok(Claimed::Busy), |row| read(&claim.id, &row))
    }

    async fn finish(&mut self, claim: &Claim, answer: &Answer) -> Result<()> {
        let status = answer.status.and_then(|status| i16::try_from(status).ok());
        let done = sqlx::query(FINISH)
            .bind(claim.id.as_bytes().as_slice())
            .bind(status)
            .bind(answer.head.as_slice())
            .bind(answer.body.as_deref())
            .bind(answer.after_commit.as_deref())
            .persistent(claim.pooler.keeps_statements())
            .execute(self)
            .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(not_claimed()) }
    }

    async fn sweep_claims(&mut self, limit: i64) -> Result<u64> {
        Ok(sqlx::query(SWEEP_CLAIMS).bind(limit).persistent(false).execute(self).await?.rows_affected())
    }

    async fn migrate(&mut self, migrations: &[Migration]) -> Result<()> {
        migrate::on_postgres(self, migrations).await
    }
}

/// What an error means after the COMMIT was sent and this many statements have succeeded; it is the second.
fn commit_failed(error: sqlx::Error, completed: usize) -> Error {
    match &error {
        // Answers come in order: the transaction had failed before the COMMIT was reached.
        sqlx::Error::Database(_) if completed == 0 => error.into(),
        // A refused COMMIT is an ERROR. FATAL or PANIC may come after its record was written.
        sqlx::Error::Database(answer) if completed == 1 && is_refusal(answer.as_ref()) => error.into(),
        _ => unknown("the connection was lost during COMMIT").with_source(error),
    }
}

fn is_refusal(answer: &dyn DatabaseError) -> bool {
    let severity = answer.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
    severity == Some(PgSeverity::Error) && !is_gone(answer)
}

fn unknown(message: &'static str) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, message).with_retry_after(Duration::from_secs(1))
}

fn read(id: &ClaimId, row: &PgRow) -> Result<Claimed> {
    if row.try_get::<&str, _>("isolation")? != "read committed" {
        let message = "a claim needs READ COMMITTED: above it, a concurrent claim would not be seen";
        return Err(Error::new(ErrorKind::Misuse, message));
    }
    let operation = id.operation(row.try_get("micros")?);
    if row.try_get("taken")? {
        return Ok(Claimed::Taken(operation));
    }
    Ok(Claimed::Before(Finished {
        operation,
        position: row.try_get::<&str, _>("position")?.parse()?,
        fingerprint: row.try_get("fingerprint")?,
        answer: Answer {
            status: row.try_get::<Option<i16>, _>("status")?.and_then(|status| u16::try_from(status).ok()),
            head: row.try_get::<Option<_>, _>("head")?.unwrap_or_default(),
            body: row.try_get("body")?,
            after_commit: row.try_get("after_commit")?,
        },
    }))
}

/// A Postgres time-out; zero would mean "none".
fn millis(time: Duration) -> String {
    time.as_millis().clamp(1, i32::MAX as u128).to_string()
}
