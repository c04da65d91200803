//! Streaming replicas, and how to hold them back.
use std::time::Duration;

use super::{builder::start_on, cluster::new_standby, server::PostgresServer};
use crate::{os::run, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

impl PostgresServer {
    /// A streaming replica of this server, with the same settings, that streams already.
    ///
    /// It has the databases of this one: reach one of them by [`Database::url_via`](super::Database::url_via)
    /// with the replica's `addr()`. It is a server of its own: kill, pause and restart it as any other.
    pub async fn replica(&self) -> Self {
        let slot = format!("replica_{}", self.next_number());
        let dir = run().scratch("postgres");
        let data = new_standby(&dir, self.port(), &slot);
        let replica = start_on(dir, data, self.config.clone()).await;
        let sql =
            "select r.state from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid";
        let sql = format!("{sql} where s.slot_name = '{slot}'");
        wait_until("the replica streams", LIMIT, || async { self.admin(sql.clone()).await == ["streaming"] })
            .await;
        replica
    }

    /// On a replica: receives from now on, but shows nothing new until [`resume_replay`](Self::resume_replay).
    pub async fn pause_replay(&self) {
        self.admin("select pg_wal_replay_pause()::text".into()).await;
        let state = "select pg_get_wal_replay_pause_state()";
        wait_until("replay is paused", LIMIT, || async { self.admin(state.into()).await == ["paused"] })
            .await;
    }

    /// Lets a replica show what it has received meanwhile, and go on.
    pub async fn resume_replay(&self) {
        self.admin("select pg_wal_replay_resume()::text".into()).await;
    }

    /// Makes a replica a primary, on a timeline of its own; returns when it takes writes.
    pub async fn promote(&self) {
        let promoted = self.admin("select pg_promote(true, 30)::text".into()).await;
        assert_eq!(promoted, ["true"], "the replica was not promoted:\n{}", self.log_tail());
    }
}
