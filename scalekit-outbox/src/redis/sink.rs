//! The sink that appends to Redis Streams.

use std::fmt;

use async_trait::async_trait;
use scalekit_core::{
    Error, ErrorKind, Result,
    redis::{Redis, Script},
};

use super::{
    entry,
    streams::{check, stream},
};
use crate::{Lane, Record, Sink, SinkError};

static PUBLISH: Script = Script::new(include_str!("../lua/publish.lua"));

/// Most events, and bytes of payload after which no further one is added, of one script call.
const CHUNK_EVENTS: usize = 64;
const CHUNK_BYTES: usize = 256 << 10;

/// Appends events to one Redis stream per lane: `<namespace>:e:{<database>.<lane>}`.
///
/// An entry's fields are the CloudEvents attributes, with the event's key as `subject`, and `data`. Its id is the
/// event's place in the log, so a repetition is recognised and an owner that lost its lane cannot write past the
/// new one: an id that is refused counts as a repetition only if it is there with the same event. Otherwise the
/// lane stops, and the relay reports it every few seconds: somebody else writes the stream, or it was trimmed
/// beyond what was acknowledged.
///
/// **Round trips**: 1 per 64 events of a lane.
///
/// ```
/// use scalekit_core::redis::Redis;
/// use scalekit_outbox::RedisSink;
/// let sink = RedisSink::new(Redis::open("redis://127.0.0.1:6379")?, "shop")?;
/// # Ok::<(), scalekit_core::Error>(())
/// ```
pub struct RedisSink {
    redis: Redis,
    namespace: String,
}

impl RedisSink {
    /// A sink into the streams of this namespace.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a namespace that is empty, longer than 64 bytes, or has other characters than
    /// `A-Z a-z 0-9 _ - .`.
    pub fn new(redis: Redis, namespace: &str) -> Result<Self> {
        check("namespace", namespace)?;
        Ok(Self { redis, namespace: namespace.to_owned() })
    }
}

#[async_trait]
impl Sink for RedisSink {
    async fn publish(&self, lane: &Lane, batch: &[Record]) -> Result<(), SinkError> {
        let stream = stream(&self.namespace, lane.database(), lane.number());
        let mut rest = batch;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk(rest));
            let mut call = PUBLISH.key(&stream);
            for record in chunk {
                let fields = entry::fields(record);
                let place = entry::place(record.position).to_string();
                call = call.arg(place).arg(record.id.to_string()).arg(fields.len()).arg(fields);
            }
            let (_, clash, _): (u64, String, String) =
                self.redis.run(&call).await.map_err(SinkError::Unavailable)?;
            if !clash.is_empty() {
                let message = "the stream of the lane has other entries at or after an event's place";
                return Err(SinkError::Fenced(Error::new(ErrorKind::Conflict, message)));
            }
            rest = later;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSink").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// How many of the records one call takes; at least one.
fn chunk(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take(CHUNK_EVENTS).take_while(|record| {
        let before = bytes;
        bytes += record.data.len();
        before < CHUNK_BYTES
    });
    fits.count().max(1)
}
