//! What a session in Redis costs, and what parallel requests lose, beside tower-sessions and axum_session.

mod axum_session;
mod tower_sessions;

use std::net::SocketAddr;

use scalekit_bench::{
    duel::block_on,
    session::{self, Make, Scalekit, Service},
};

/// Ours, then the one that the others are compared with.
const ALL: [Maker; 4] =
    [Maker::Scalekit, Maker::TowerSessions, Maker::TowerSessionsFixed, Maker::AxumSession];

pub(crate) fn run() {
    block_on(session::run(&ALL));
}

/// Whether this process has served.
pub(crate) fn served() -> bool {
    session::served(&ALL)
}

#[derive(Clone, Copy)]
enum Maker {
    Scalekit,
    /// A read prolongs the session, as ours does.
    TowerSessions,
    TowerSessionsFixed,
    AxumSession,
}

impl Make for Maker {
    fn word(&self) -> &'static str {
        match self {
            Self::Scalekit => Scalekit.word(),
            Self::TowerSessions => "tower-sessions",
            Self::TowerSessionsFixed => "tower-sessions-fixed",
            Self::AxumSession => "axum_session",
        }
    }

    async fn make(&self, redis: SocketAddr) -> Service {
        match self {
            Self::Scalekit => Scalekit.make(redis).await,
            Self::TowerSessions => tower_sessions::service(redis, true).await,
            Self::TowerSessionsFixed => tower_sessions::service(redis, false).await,
            Self::AxumSession => axum_session::service(redis).await,
        }
    }
}
