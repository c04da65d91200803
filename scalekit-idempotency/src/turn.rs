//! Whose turn it is: of requests with one key, one executes and the others wait for its answer.

use std::{sync::Arc, time::Duration};

use scalekit_core::{
    Error, ErrorKind, OperationId, Principal,
    db::{Claim, ClaimId, Db, Tx, claim},
    http::{Participants, Response},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    after,
    answer::{in_flight, mismatch, replay},
    count::Ended,
    fingerprint::Fingerprint,
    flight::{Joined, Landed, Lead},
    manager::Shared,
    state::{Next, next},
    step::Step,
};

/// A request whose body has been read, and what identifies it.
pub(crate) struct Keyed {
    pub(crate) id: ClaimId,
    pub(crate) who: Principal,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) participants: Participants,
}

/// What came of asking the database.
pub(crate) enum Turn<D: Db> {
    Execute(Box<Taken<D>>),
    Answer(Ended, Response),
}

/// A claimed key with the transaction that holds it.
pub(crate) struct Taken<D: Db> {
    pub(crate) lead: Lead,
    pub(crate) tx: Tx<D>,
    pub(crate) claim: Claim,
    pub(crate) operation: OperationId,
}

impl<D: Db> Shared<D> {
    /// Waits until this request may execute, or has its answer.
    pub(crate) async fn wait_for_turn(&self, keyed: &Keyed) -> Result<Turn<D>, Error> {
        let until = Instant::now() + self.config.wait;
        let sealed = keyed.fingerprint.seal()?;
        let mut waited = false;
        loop {
            let lead = match self.flights.join(keyed.id, &keyed.fingerprint, &sealed) {
                Joined::Lead(lead) => lead,
                Joined::Mismatch => return Ok(Turn::Answer(Ended::Mismatched, mismatch())),
                Joined::Follow(follow) => {
                    waited = true;
                    match timeout_at(until, follow.landed()).await {
                        Ok(Landed::Finished(record)) => {
                            return Ok(Turn::Answer(Ended::Replayed, replay(&record)));
                        }
                        Ok(Landed::Free) => continue,
                        Err(_) => return Ok(Turn::Answer(Ended::InFlight, in_flight())),
                    }
                }
            };
            self.step(Step::BeforeClaim);
            return self.lead(keyed, lead, &sealed, waited, until).await;
        }
    }

    /// Claims the key, as the only one of this process; waits outside the database for one of another process.
    async fn lead(
        &self,
        keyed: &Keyed,
        lead: Lead,
        sealed: &[u8],
        mut waited: bool,
        until: Instant,
    ) -> Result<Turn<D>, Error> {
        let claim_of = Claim::new(keyed.id)
            .with_fingerprint(sealed)
            .with_retention(self.config.retention)
            .with_deadline(self.config.deadline)
            .with_pooler(self.config.pooler);
        let mut pause = Duration::from_millis(5);
        loop {
            let mut tx = self.config.source.begin(&keyed.who).await?;
            let claimed =
                match timeout_at(Instant::now() + self.config.deadline, claim(&mut *tx, &claim_of)).await {
                    Ok(Ok(claimed)) => claimed,
                    Ok(Err(error)) => {
                        tx.fail(&error);
                        return Err(error);
                    }
                    Err(_) => {
                        tx.close();
                        let message = "the database did not answer the claim in time";
                        return Err(Error::new(ErrorKind::Unavailable, message));
                    }
                };
            match next(claimed, &keyed.fingerprint)? {
                Next::Execute(operation) => {
                    if waited {
                        for participant in keyed.participants.iter() {
                            participant.refresh().await?;
                        }
                    }
                    return Ok(Turn::Execute(Box::new(Taken { lead, tx, claim: claim_of, operation })));
                }
                Next::Replay(record) => {
                    drop(tx);
                    after::apply(
                        &keyed.participants,
                        record.operation,
                        &record.after_commit,
                        &self.background,
                    )
                    .await;
                    lead.land(Arc::clone(&record));
                    return Ok(Turn::Answer(Ended::Replayed, replay(&record)));
                }
                Next::Mismatch => return Ok(Turn::Answer(Ended::Mismatched, mismatch())),
                Next::Wait => {
                    tx.rollback().await?;
                    waited = true;
                    if Instant::now() + pause >= until {
                        return Ok(Turn::Answer(Ended::InFlight, in_flight()));
                    }
                    sleep(jittered(pause)).await;
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
            }
        }
    }
}

/// Half to all of it, so that waiting processes do not ask in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    let random = getrandom::fill(&mut byte).map_or(255, |()| byte[0]);
    pause / 2 + pause * u32::from(random) / 512
}
