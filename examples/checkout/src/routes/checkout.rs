//! The order: the one handler that must neither happen twice nor get lost.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use scalekit::{
    OperationId, Principal, Result,
    db::Tx,
    http::Problem,
    session::{Session, SessionOps},
};
use serde::Deserialize;
use uuid::Uuid;

use super::cart::{CART, GENERATION};
use crate::{
    app::Pod,
    catalog::{self, Product},
    db::Db,
    events,
    orders::{self, Line, NewOrder, Order, Placed},
    problems::{Body, Refusal, invalid},
};

/// The longest payment token, in bytes.
const TOKEN_MAX: usize = 255;

/// How the order is paid.
#[derive(Deserialize)]
pub(crate) struct PlaceOrder {
    payment_token: String,
}

/// `POST /checkout`
///
/// Everything in `tx` happens once for an `Idempotency-Key`: the layer claimed the key in it, and commits it with the
/// answer. What is asked of the session is stored in the same transaction and follows the commit.
pub(crate) async fn place(
    State(pod): State<Pod>,
    who: Principal,
    session: Session,
    operation: OperationId,
    mut tx: Tx<Db>,
    Body(request): Body<PlaceOrder>,
) -> Result<(StatusCode, Json<Order>), Refusal> {
    check(&request.payment_token)?;
    let lines = sold(&session).await?;
    if lines.is_empty() {
        return Err(cart_empty().into());
    }
    let order_id = Uuid::now_v7();
    let lineage = session.lineage().await?.ok_or_else(session_gone)?;
    let generation = session.counter(GENERATION).await?;
    let new = NewOrder { order_id, who: &who, lineage: &lineage, generation, lines: &lines, operation };
    let order = match orders::place(&mut tx, &new).await? {
        Placed::New(order) => order,
        Placed::Before(operation, lines) => {
            // That order's client has its answer and will not ask again, so what it asked of the session may never
            // have arrived. It is made good here, under that order's own operation: at most once, whoever does it.
            let _done_or_before = session.apply(operation, &subtracted(&lines)?).await?;
            return Err(cart_ordered().into());
        }
    };
    let placed = events::placed(&pod.shared.ring, &order, order_id, &request.payment_token)?;
    pod.outbox.append(&mut *tx, &placed).await?;
    // Exactly what was ordered: a line that is added meanwhile stays.
    for line in &order.items {
        session.add(CART, &line.sku, -line.quantity)?;
    }
    session.incr(GENERATION, 1)?;
    Ok((StatusCode::CREATED, Json(order)))
}

/// The lines of the cart that are still sold.
async fn sold(session: &Session) -> Result<Vec<(&'static Product, i64)>> {
    let cart = session.counter_map(CART).await?.into_iter();
    Ok(cart.filter_map(|(sku, quantity)| Some((catalog::find(&sku)?, quantity))).collect())
}

/// What an order of these lines does to its cart.
fn subtracted(lines: &[Line]) -> Result<SessionOps> {
    let ops = SessionOps::new().incr(GENERATION, 1)?;
    lines.iter().try_fold(ops, |ops, line| ops.add(CART, &line.sku, -line.quantity))
}

fn check(token: &str) -> Result<(), Problem> {
    if (1..=TOKEN_MAX).contains(&token.len()) {
        return Ok(());
    }
    Err(invalid(format!("payment_token must have 1 to {TOKEN_MAX} bytes, it has {}", token.len())))
}

fn cart_empty() -> Problem {
    Problem::new(StatusCode::CONFLICT, "cart-empty", "There is nothing in the cart")
}

/// It was there when the principal was taken from it. Without it the order would be unique on nothing.
fn session_gone() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "The session has ended; sign in again")
}

fn cart_ordered() -> Problem {
    Problem::new(StatusCode::CONFLICT, "cart-ordered", "This cart has been ordered")
        .with_detail("Another request has ordered it; repeat this one to order what is left")
        .with_retry_after(Duration::from_secs(1))
}
