//! What the shop promises for its routes: the one declaration that metrics, page and alerts follow.

use std::time::Duration;

use axum::http::Method;
use scalekit::{
    Result,
    slo::{Objective, ObjectiveSet},
};

/// From the click to what the payment provider says, be it paid or declined: the journey that the cashier ends. An order
/// that the provider refuses to look at has failed.
pub(crate) const PAID: &str = "paid";

/// The shop's objectives; the environment may change their numbers, as by `CHECKOUT_SLO_CART_LATENCY=250ms`.
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
        .objective(
            Objective::new(PAID)
                .route(Method::POST, "/checkout")
                .until("settled")
                .latency(Duration::from_secs(5))
                .target(0.99),
        )
        .overrides_from_env("CHECKOUT_SLO")
        .build()
}
