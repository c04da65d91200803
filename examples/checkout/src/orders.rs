//! Orders, as rows: every statement of the shop, on whichever database this build runs.

use std::time::Duration;

use scalekit::{Error, ErrorKind, OperationId, Principal, Result, db::Tx};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use uuid::Uuid;

use crate::{
    catalog::Product,
    db::{Db, sql},
};

/// How long a read, or the mark of a payment, may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How many orders a list shows.
const LISTED: i64 = 100;

type DbRow = <Db as sqlx::Database>::Row;

/// A line of a cart or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
}

/// An order as its user sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) tenant: String,
    pub(crate) status: String,
    pub(crate) total_cents: i64,
    pub(crate) items: Vec<Line>,
}

/// What a cart becomes when it is ordered.
pub(crate) struct NewOrder<'a> {
    pub(crate) order_id: Uuid,
    pub(crate) who: &'a Principal,
    /// Which cart: the session that it is in, through all its rotations, and how often it was ordered before.
    pub(crate) lineage: &'a str,
    pub(crate) generation: i64,
    pub(crate) lines: &'a [(&'static Product, i64)],
    pub(crate) operation: OperationId,
}

/// What became of a [`NewOrder`].
#[must_use]
pub(crate) enum Placed {
    New(Order),
    /// The cart was ordered before: by this operation, these lines.
    Before(OperationId, Vec<Line>),
}

#[derive(Serialize)]
struct ItemRow {
    sku: &'static str,
    quantity: i64,
    price_cents: i64,
}

/// Bounds what no claim bounds: a database that hangs must not keep its connections from the others. Given up, the
/// transaction is dropped, and a connection that does not answer is closed.
pub(crate) async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::new(ErrorKind::Unavailable, "the database did not answer in time");
    tokio::time::timeout(WITHIN, work).await.map_err(late)?
}

/// Places an order: one round trip for the order, one for its lines.
pub(crate) async fn place(tx: &mut Tx<Db>, new: &NewOrder<'_>) -> Result<Placed> {
    let total_cents = total(new.lines)?;
    let inserted = sqlx::query(sql::INSERT_ORDER)
        .bind(new.order_id.to_string())
        .bind(new.who.tenant_id())
        .bind(new.who.id())
        .bind(new.lineage)
        .bind(new.generation)
        .bind(total_cents)
        .bind(new.operation.to_string())
        .execute(&mut **tx)
        .await?;
    if inserted.rows_affected() == 0 {
        return placed_before(tx, new).await;
    }
    let row = |(product, quantity): &(&'static Product, i64)| ItemRow {
        sku: product.sku,
        quantity: *quantity,
        price_cents: product.price_cents,
    };
    let rows: Vec<_> = new.lines.iter().map(row).collect();
    let rows = serde_json::to_string(&rows).map_err(unwritable)?;
    sqlx::query(sql::INSERT_ITEMS).bind(new.order_id.to_string()).bind(rows).execute(&mut **tx).await?;
    let line =
        |(product, quantity): &(&'static Product, i64)| Line { sku: product.sku.into(), quantity: *quantity };
    Ok(Placed::New(Order {
        order_id: new.order_id.to_string(),
        tenant: new.who.tenant_id().to_owned(),
        status: "placed".to_owned(),
        total_cents,
        items: new.lines.iter().map(line).collect(),
    }))
}

async fn placed_before(tx: &mut Tx<Db>, new: &NewOrder<'_>) -> Result<Placed> {
    let row =
        sqlx::query(sql::ORDER_OF_CART).bind(new.lineage).bind(new.generation).fetch_one(&mut **tx).await?;
    let operation: String = row.try_get("operation")?;
    Ok(Placed::Before(operation.parse()?, lines(&row)?))
}

/// One order of this user: one round trip.
pub(crate) async fn find(tx: &mut Tx<Db>, who: &Principal, order_id: Uuid) -> Result<Option<Order>> {
    let row = sqlx::query(sql::FIND_ORDER)
        .bind(order_id.to_string())
        .bind(who.tenant_id())
        .bind(who.id())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The newest orders of this user: one round trip.
pub(crate) async fn list(tx: &mut Tx<Db>, who: &Principal) -> Result<Vec<Order>> {
    let rows = sqlx::query(sql::LIST_ORDERS)
        .bind(who.tenant_id())
        .bind(who.id())
        .bind(LISTED)
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(read).collect()
}

/// Marks a placed order; `false` if it was marked before. One round trip.
pub(crate) async fn settle(tx: &mut Tx<Db>, order_id: Uuid, status: &'static str) -> Result<bool> {
    let marked =
        sqlx::query(sql::SETTLE_ORDER).bind(order_id.to_string()).bind(status).execute(&mut **tx).await?;
    Ok(marked.rows_affected() == 1)
}

fn read(row: &DbRow) -> Result<Order> {
    Ok(Order {
        order_id: row.try_get("order_id")?,
        tenant: row.try_get("tenant")?,
        status: row.try_get("status")?,
        total_cents: row.try_get("total_cents")?,
        items: lines(row)?,
    })
}

fn lines(row: &DbRow) -> Result<Vec<Line>> {
    let text: String = row.try_get("items")?;
    serde_json::from_str(&text)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "an order's lines cannot be read").with_source(error))
}

fn total(lines: &[(&'static Product, i64)]) -> Result<i64> {
    let sum = lines.iter().try_fold(0_i64, |sum, (product, quantity)| {
        sum.checked_add(product.price_cents.checked_mul(*quantity)?)
    });
    sum.ok_or_else(|| Error::new(ErrorKind::Invalid, "the cart is worth more than can be counted"))
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "an order's lines cannot be written").with_source(error)
}
