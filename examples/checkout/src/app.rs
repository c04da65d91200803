//! The app of one pod: its routes and the whole stack around them.

use std::sync::Arc;

use axum::{Json, Router, response::Html, routing::get};
use scalekit::Workers;
use serde_json::{Value, json};

use crate::{catalog, pages, problems, service, shared::Shared};

pub(crate) async fn start(_shared: Arc<Shared>, _pod: u32) -> scalekit::Result<service::App> {
    let shop: Arc<str> = pages::shop().into();
    let router = Router::new()
        .route("/", get(async move || Html(shop.to_string())))
        .route("/catalog", get(all_products))
        .fallback(problems::not_found)
        .method_not_allowed_fallback(problems::method_not_allowed);
    Ok(service::App { router, workers: Workers::default(), settle: Box::pin(async {}) })
}

async fn all_products() -> Json<Value> {
    Json(json!({"products": catalog::PRODUCTS}))
}
