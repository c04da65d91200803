//! Every statement of this crate as static SQL, for a service that runs them with another driver or ORM.
//!
//! The first lines of each name its binds and its result.

/// The statements for Postgres.
///
/// ```
/// use scalekit_outbox::sql::postgres;
/// assert!(postgres::APPEND.contains("scalekit.event"));
/// ```
pub mod postgres {
    /// Appends events.
    pub const APPEND: &str = include_str!("sql/postgres/append.sql");
    /// Acknowledges what was sent; a lane that has another owner, or a later epoch, is left alone.
    pub const ACK: &str = include_str!("sql/postgres/ack.sql");
    /// Moves lanes of a relay that have nothing to send up to the newest tick, so that older ticks can be deleted.
    pub const ADVANCE: &str = include_str!("sql/postgres/advance.sql");
    /// Renews a relay's lease, and asks for the right to take lanes over until the transaction ends.
    pub const BEAT: &str = include_str!("sql/postgres/beat.sql");
    /// Parked events of keys that are due, in their order, on lanes of a relay that have no open window.
    pub const DUE: &str = include_str!("sql/postgres/due.sql");
    /// Lets go of lanes above a fair share.
    pub const GIVE: &str = include_str!("sql/postgres/give.sql");
    /// What waits to be acknowledged, on all lanes.
    pub const LAG: &str = include_str!("sql/postgres/lag.sql");
    /// The lanes that a relay owns.
    pub const MINE: &str = include_str!("sql/postgres/mine.sql");
    /// Opens a window up to a tick on each lane of a relay that has events in it.
    pub const OPEN: &str = include_str!("sql/postgres/open.sql");
    /// Sets events aside, in the transaction that acknowledges them.
    pub const PARK: &str = include_str!("sql/postgres/park.sql");
    /// The first parked event of each key, oldest first.
    pub const PARKED: &str = include_str!("sql/postgres/parked.sql");
    /// Whether a relay's lanes have committed events that no closed window covers, or parked ones that are due.
    pub const PENDING: &str = include_str!("sql/postgres/pending.sql");
    /// Events by their places, of each lane as many as fit.
    pub const FETCH: &str = include_str!("sql/postgres/fetch.sql");
    /// The open windows of a relay, and which events are in them.
    pub const PLACES: &str = include_str!("sql/postgres/places.sql");
    /// The newest tick: another relay's, for one that came too late to store its own.
    pub const NEWEST: &str = include_str!("sql/postgres/newest.sql");
    /// The first statement of a rebase, which is one transaction: bounds it.
    pub const REBASE_BOUNDS: &str = include_str!("sql/postgres/rebase_bounds.sql");
    /// Holds up all relays of the database; the second statement of a rebase.
    pub const REBASE_LOCK: &str = include_str!("sql/postgres/rebase_lock.sql");
    /// What a rebase starts from; the third statement of it.
    pub const REBASE_LOOK: &str = include_str!("sql/postgres/rebase_look.sql");
    /// Puts all lanes on fresh ticks, with every event before them that is not known to be acknowledged; the fourth.
    pub const REBASE: &str = include_str!("sql/postgres/rebase.sql");
    /// Raises the number of the next event above all that are there; the last statement of a rebase.
    pub const REBASE_SEQ: &str = include_str!("sql/postgres/rebase_seq.sql");
    /// Makes a parked event due, and with it its key.
    pub const REDRIVE: &str = include_str!("sql/postgres/redrive.sql");
    /// Lets go of all lanes of a relay that stops.
    pub const RELEASE: &str = include_str!("sql/postgres/release.sql");
    /// Notes that parked events were refused again.
    pub const REPARK: &str = include_str!("sql/postgres/repark.sql");
    /// Deletes events that are acknowledged and old enough.
    pub const SWEEP_EVENTS: &str = include_str!("sql/postgres/sweep_events.sql");
    /// Deletes ticks that no lane stands on, and relays that are gone.
    pub const SWEEP_TICKS: &str = include_str!("sql/postgres/sweep_ticks.sql");
    /// Takes lanes over that nobody owns or whose owner's lease has run out, up to a fair share.
    pub const TAKE: &str = include_str!("sql/postgres/take.sql");
    /// Stores a snapshot.
    pub const TICK: &str = include_str!("sql/postgres/tick.sql");
    /// Deletes parked events that were sent; the next of each key is due at once.
    pub const UNPARK: &str = include_str!("sql/postgres/unpark.sql");

    /// All of them with their names, for tools that check statements against a schema.
    pub const ALL: &[(&str, &str)] = &[
        ("append", APPEND),
        ("ack", ACK),
        ("advance", ADVANCE),
        ("beat", BEAT),
        ("due", DUE),
        ("give", GIVE),
        ("lag", LAG),
        ("mine", MINE),
        ("open", OPEN),
        ("park", PARK),
        ("parked", PARKED),
        ("pending", PENDING),
        ("fetch", FETCH),
        ("places", PLACES),
        ("newest", NEWEST),
        ("rebase_bounds", REBASE_BOUNDS),
        ("rebase_lock", REBASE_LOCK),
        ("rebase_look", REBASE_LOOK),
        ("rebase", REBASE),
        ("rebase_seq", REBASE_SEQ),
        ("redrive", REDRIVE),
        ("release", RELEASE),
        ("repark", REPARK),
        ("sweep_events", SWEEP_EVENTS),
        ("sweep_ticks", SWEEP_TICKS),
        ("take", TAKE),
        ("tick", TICK),
        ("unpark", UNPARK),
    ];
}

/// The statements for SQLite.
///
/// ```
/// use scalekit_outbox::sql::sqlite;
/// assert!(sqlite::APPEND.contains("scalekit_event"));
/// ```
pub mod sqlite {
    /// Appends one event in the caller's transaction.
    pub const APPEND: &str = include_str!("sql/sqlite/append.sql");
    /// Acknowledges what was sent of a lane, unless it has another owner or a later epoch.
    pub const ACK: &str = include_str!("sql/sqlite/ack.sql");
    /// Renews a relay's lease.
    pub const BEAT: &str = include_str!("sql/sqlite/beat.sql");
    /// Moves lanes with parked events that are due to a new tick.
    pub const BUMP: &str = include_str!("sql/sqlite/bump.sql");
    /// Parked events of keys of a lane that are due, in their order.
    pub const DUE: &str = include_str!("sql/sqlite/due.sql");
    /// Lets go of lanes above a fair share.
    pub const GIVE: &str = include_str!("sql/sqlite/give.sql");
    /// What waits to be acknowledged, on all lanes.
    pub const LAG: &str = include_str!("sql/sqlite/lag.sql");
    /// The lanes that a relay owns.
    pub const MINE: &str = include_str!("sql/sqlite/mine.sql");
    /// Makes the first parked event of a key due.
    pub const NEXT: &str = include_str!("sql/sqlite/next.sql");
    /// The lanes of a relay that have events to send.
    pub const OPEN: &str = include_str!("sql/sqlite/open.sql");
    /// Sets an event aside, in the transaction that acknowledges it.
    pub const PARK: &str = include_str!("sql/sqlite/park.sql");
    /// The first parked event of each key, oldest first.
    pub const PARKED: &str = include_str!("sql/sqlite/parked.sql");
    /// Whether a relay's lanes have events to send, or parked ones that are due.
    pub const PENDING: &str = include_str!("sql/sqlite/pending.sql");
    /// The next events of a lane.
    pub const READ: &str = include_str!("sql/sqlite/read.sql");
    /// Makes a parked event due, and with it its key.
    pub const REDRIVE: &str = include_str!("sql/sqlite/redrive.sql");
    /// Lets go of all lanes of a relay that stops.
    pub const RELEASE_LANES: &str = include_str!("sql/sqlite/release_lanes.sql");
    /// Forgets a relay that stops.
    pub const RELEASE_RELAY: &str = include_str!("sql/sqlite/release_relay.sql");
    /// Notes that a parked event was refused again.
    pub const REPARK: &str = include_str!("sql/sqlite/repark.sql");
    /// Deletes events that are acknowledged and old enough.
    pub const SWEEP_EVENTS: &str = include_str!("sql/sqlite/sweep_events.sql");
    /// Forgets relays that are gone for.
    pub const SWEEP_RELAYS: &str = include_str!("sql/sqlite/sweep_relays.sql");
    /// Takes lanes over that nobody owns or whose owner's lease has run out, up to a fair share.
    pub const TAKE: &str = include_str!("sql/sqlite/take.sql");
    /// Deletes a parked event that was sent.
    pub const UNPARK: &str = include_str!("sql/sqlite/unpark.sql");

    /// All of them with their names, for tools that check statements against a schema.
    pub const ALL: &[(&str, &str)] = &[
        ("append", APPEND),
        ("ack", ACK),
        ("beat", BEAT),
        ("bump", BUMP),
        ("due", DUE),
        ("give", GIVE),
        ("lag", LAG),
        ("mine", MINE),
        ("next", NEXT),
        ("open", OPEN),
        ("park", PARK),
        ("parked", PARKED),
        ("pending", PENDING),
        ("read", READ),
        ("redrive", REDRIVE),
        ("release_lanes", RELEASE_LANES),
        ("release_relay", RELEASE_RELAY),
        ("repark", REPARK),
        ("sweep_events", SWEEP_EVENTS),
        ("sweep_relays", SWEEP_RELAYS),
        ("take", TAKE),
        ("unpark", UNPARK),
    ];
}
