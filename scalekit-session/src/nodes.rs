//! The nodes of a service tell each other by which keys they sign: where one refuses the other's, users are signed out.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::time::{Instant, sleep};

use crate::{cookie::random, visit::Shared};

/// How often a node tells of itself.
const EVERY: Duration = Duration::from_secs(2);
/// How long it counts as alive then.
const ALIVE: Duration = Duration::from_secs(10);
/// How often a difference that lasts is logged.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Whether this process takes part.
#[derive(Default)]
pub(crate) struct Nodes {
    stays_away: bool,
    met: AtomicBool,
}

impl Nodes {
    pub(crate) fn new(takes_part: bool) -> Self {
        Self { stays_away: !takes_part, met: AtomicBool::new(false) }
    }
}

impl Shared {
    /// Begins to meet the other nodes with the first use of the store.
    pub(crate) fn meet_others(self: &Arc<Self>) {
        let Nodes { stays_away, met } = &self.nodes;
        if !stays_away && !met.load(Ordering::Relaxed) && !met.swap(true, Ordering::Relaxed) {
            tokio::spawn(meet(Arc::downgrade(self)));
        }
    }
}

async fn meet(shared: Weak<Shared>) {
    let Ok(node) = random::<12>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes)) else { return };
    let mut said: Option<Instant> = None;
    loop {
        let Some(shared) = shared.upgrade() else { return };
        // Each time anew: the ring may have been reloaded.
        let mine = shared.ring.fingerprints();
        let (namespace, says) = (&shared.namespace, mine.join(" "));
        match shared.store.meet(namespace, &node, &says, ALIVE, shared.request_budget).await {
            Ok(others) => {
                let strangers = others.iter().filter(|theirs| !agree(&mine, theirs)).count();
                shared.counters.rings_differ(strangers > 0);
                if strangers == 0 {
                    said = None;
                } else if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                    said = Some(Instant::now());
                    tracing::error!(
                        nodes = strangers,
                        "other nodes sign sessions with a key that this one refuses, or refuse the one that it signs with: \
                         users lose their sessions between them. Give all nodes the same key ring; a generated one is of \
                         one process alone"
                    );
                }
            }
            // Whether they differ is not known, which is no alarm of its own.
            Err(error) => tracing::debug!("the other nodes were not heard: {error}"),
        }
        drop(shared);
        sleep(EVERY).await;
    }
}

/// Whether each of two rings accepts what the other signs.
fn agree(mine: &[String], theirs: &str) -> bool {
    let theirs: Vec<&str> = theirs.split(' ').collect();
    let (Some(we), Some(they)) = (mine.first(), theirs.first()) else { return false };
    theirs.contains(&we.as_str()) && mine.iter().any(|key| key == they)
}

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn rings_agree_in_each_phase_of_a_rotation_and_not_when_one_is_left_out() {
        let ring = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (mine, theirs, agreed) in [
            ("a", "a", true),
            ("a", "a b", true),
            ("a b", "b a", true),
            ("b a", "b", true),
            ("b a", "a", false),
            ("a", "b a", false),
            ("a b", "b", false),
            ("a", "b", false),
            ("a", "", false),
        ] {
            assert_eq!(agree(&ring(mine), theirs), agreed, "{mine} and {theirs}");
            assert_eq!(agree(&ring(theirs), mine), agreed, "{theirs} and {mine}");
        }
    }
}
