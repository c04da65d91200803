//! What the shop promises for its routes: the one declaration that metrics, page and alerts follow.

use std::time::Duration;

use axum::http::Method;
use scalekit::{
    Result,
    slo::{Objective, ObjectiveSet},
};

/// The shop's objectives.
pub(crate) fn shop() -> Result<ObjectiveSet> {
    ObjectiveSet::builder("checkout")
        .objective(
            Objective::new("checkout")
                .route(Method::POST, "/checkout")
                .latency(Duration::from_millis(300))
                .target(0.99)
                .availability(0.999),
        )
        .objective(
            Objective::new("cart")
                .route(Method::GET, "/cart")
                .route(Method::POST, "/cart/items")
                .latency(Duration::from_millis(100))
                .target(0.99)
                .availability(0.999),
        )
        .objective(
            Objective::new("orders")
                .route(Method::GET, "/orders")
                .route(Method::GET, "/orders/{id}")
                .latency(Duration::from_millis(200))
                .target(0.99)
                .availability(0.999),
        )
        .objective(
            Objective::new("browse")
                .route(Method::GET, "/")
                .route(Method::GET, "/catalog")
                .latency(Duration::from_millis(50))
                .target(0.99)
                .availability(0.9995),
        )
        .build()
}
