//! Redis Streams: one stream per lane, one owner per lane and group.

mod balance;
mod entry;
mod feed;
mod lanes;
mod parked;
mod read;
mod sink;
mod streams;

pub use sink::RedisSink;
pub use streams::RedisStreams;
