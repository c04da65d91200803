//! Redis Streams: one stream per lane, one owner per lane and group.

mod balance;
mod entry;
mod feed;
mod lanes;
mod parked;
mod sink;
mod streams;

pub use sink::RedisSink;
pub use streams::RedisStreams;
