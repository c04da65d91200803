//! scalekit-shard
