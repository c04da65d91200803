//! What the shop has written: orders and events, read past the shop.

use std::collections::BTreeSet;

use redis::{AsyncCommands, aio::MultiplexedConnection, streams::StreamRangeReply};
use scalekit_testkit::{Database, RedisServer, wait_until};
use sqlx::{AssertSqlSafe, PgPool, Row};

/// What carries events in these tests.
pub(crate) const EVENTS: &str = "redis";

/// The rows of both shards.
pub(crate) struct Ledger {
    shards: Vec<PgPool>,
    redis: MultiplexedConnection,
}

/// An order, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderRow {
    pub(crate) order_id: String,
    pub(crate) status: String,
    pub(crate) total_cents: i64,
}

const ORDERS: &str = "select order_id::text, status, total_cents from orders where user_id = $1 order by 1";
const TABLES: &str = "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables
                       where schemaname not in ('pg_catalog', 'information_schema')";

impl Ledger {
    pub(super) async fn open(shards: &[Database], redis: &RedisServer) -> Self {
        let mut pools = Vec::new();
        for shard in shards {
            pools.push(shard.pool(2).await);
        }
        let client = redis::Client::open(redis.url()).unwrap();
        Self { shards: pools, redis: client.get_multiplexed_async_connection().await.unwrap() }
    }

    /// The orders of a user, whichever shard they are on.
    pub(crate) async fn orders_of(&self, user: &str) -> Vec<OrderRow> {
        let mut orders = Vec::new();
        for pool in &self.shards {
            for row in sqlx::query(ORDERS).bind(user).fetch_all(pool).await.unwrap() {
                let (order_id, status, total_cents) = (row.get(0), row.get(1), row.get(2));
                orders.push(OrderRow { order_id, status, total_cents });
            }
        }
        orders
    }

    /// The distinct ids of the events of this type about an order, in all streams.
    pub(crate) async fn events(&self, order_id: &str, kind: &str) -> BTreeSet<String> {
        let (mut redis, mut ids) = (self.redis.clone(), BTreeSet::new());
        let streams: Vec<String> = redis.keys("*:e:{*}").await.unwrap();
        for stream in streams {
            let entries: StreamRangeReply = redis.xrange_all(stream).await.unwrap();
            for entry in entries.ids {
                let text = |field: &str| entry.get::<String>(field).unwrap_or_default();
                if text("subject") == order_id && text("type") == kind {
                    ids.insert(text("id"));
                }
            }
        }
        ids
    }

    /// Waits until there is an event of this type about an order; panics if there are two.
    pub(crate) async fn wait_event(&self, order_id: &str, kind: &str) {
        let told = || async { !self.events(order_id, kind).await.is_empty() };
        wait_until("the event is there", super::SOON, told).await;
        let ids = self.events(order_id, kind).await;
        assert_eq!(ids.len(), 1, "{kind} of {order_id}: {ids:?}");
    }

    /// Waits until the user's orders are no longer `placed`.
    pub(crate) async fn wait_settled(&self, user: &str) -> Vec<OrderRow> {
        let settled = || async {
            let orders = self.orders_of(user).await;
            !orders.is_empty() && orders.iter().all(|order| order.status != "placed")
        };
        wait_until("the orders are settled", super::SOON, settled).await;
        self.orders_of(user).await
    }

    /// Everything in every table, as text.
    pub(crate) async fn dump(&self) -> String {
        let mut dump = String::new();
        for pool in &self.shards {
            for table in sqlx::query_scalar::<_, String>(TABLES).fetch_all(pool).await.unwrap() {
                let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(
                    ["select t::text from ", &table, " t"].concat(),
                ));
                for row in rows.fetch_all(pool).await.unwrap() {
                    dump.push_str(&row);
                    dump.push('\n');
                }
            }
        }
        dump
    }
}
