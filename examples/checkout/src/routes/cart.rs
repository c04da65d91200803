//! The cart: counters in the session, so that two tabs that add at once lose nothing.

use axum::{Json, http::StatusCode};
use scalekit::session::{Counter, CounterMap, Session};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    catalog,
    orders::Line,
    problems::{Body, Refusal, invalid},
};

/// How many of what.
pub(crate) const CART: CounterMap = CounterMap::new("cart").dropping_empty();
/// How often the cart was ordered.
pub(crate) const GENERATION: Counter = Counter::new("cart-generation");

/// How many of one product a single request may add.
const QUANTITY_MAX: i64 = 999;

/// `GET /cart`
pub(crate) async fn show(session: Session) -> Result<Json<Value>, Refusal> {
    let lines = session.counter_map(CART).await?.into_iter();
    let items: Vec<_> = lines.map(|(sku, quantity)| Line { sku, quantity }).collect();
    Ok(Json(json!({"items": items})))
}

/// What is put into the cart.
#[derive(Deserialize)]
pub(crate) struct Add {
    sku: String,
    quantity: i64,
}

/// `POST /cart/items`
pub(crate) async fn add(session: Session, Body(line): Body<Add>) -> Result<StatusCode, Refusal> {
    let product = catalog::find(&line.sku).ok_or_else(|| invalid("there is no product of this sku"))?;
    if !(1..=QUANTITY_MAX).contains(&line.quantity) {
        let detail = format!("quantity must be 1 to {QUANTITY_MAX}, it is {}", line.quantity);
        return Err(invalid(detail).into());
    }
    session.add(CART, product.sku, line.quantity)?;
    Ok(StatusCode::NO_CONTENT)
}
