//! Looking at one's orders.

use axum::{
    Json,
    extract::{Path, State},
};
use scalekit::{Principal, db::TxSource};
use serde_json::{Value, json};

use crate::{
    app::Pod,
    orders::{self, Order, in_time},
    problems::{Refusal, no_such_order},
};

/// `GET /orders`
pub(crate) async fn list(State(pod): State<Pod>, who: Principal) -> Result<Json<Value>, Refusal> {
    let orders = in_time(async {
        let mut tx = pod.source.begin(&who).await?;
        orders::list(&mut tx, &who).await
    });
    Ok(Json(json!({"orders": orders.await?})))
}

/// `GET /orders/{id}`
pub(crate) async fn show(
    State(pod): State<Pod>,
    who: Principal,
    Path(id): Path<String>,
) -> Result<Json<Order>, Refusal> {
    let id = id.parse().map_err(|_| no_such_order())?;
    let order = in_time(async {
        let mut tx = pod.source.begin(&who).await?;
        orders::find(&mut tx, &who, id).await
    });
    Ok(Json(order.await?.ok_or_else(no_such_order)?))
}
