//! What everybody sees, without a session: the shop's page and what it sells.

use axum::{Json, response::Html};
use serde_json::{Value, json};

use crate::{catalog, pages};

/// `GET /`
pub(crate) async fn shop() -> Html<String> {
    Html(pages::shop())
}

/// `GET /catalog`
pub(crate) async fn products() -> Json<Value> {
    Json(json!({"products": catalog::PRODUCTS}))
}

/// `GET /recommendations`
pub(crate) async fn recommendations() -> Json<Value> {
    Json(json!({"products": catalog::recommended()}))
}
