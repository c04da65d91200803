//! Signing in and out, here and everywhere.

use std::time::UNIX_EPOCH;

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
};
use scalekit::{
    Principal,
    http::Problem,
    session::{Current, Session},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problems::{Body, Refusal, invalid};

/// The longest name of a tenant or a user, in bytes.
const NAME_MAX: usize = 128;

/// Who signs in. A shop that is not an example asks for a password, too.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    tenant: String,
    user: String,
}

/// `POST /session`
pub(crate) async fn sign_in(
    session: Session,
    headers: HeaderMap,
    Body(who): Body<SignIn>,
) -> Result<StatusCode, Refusal> {
    check("tenant", &who.tenant)?;
    check("user", &who.user)?;
    let device = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    session.sign_in(&Principal::user(who.user).tenant(who.tenant), device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /session`
pub(crate) async fn whoami(who: Principal) -> Json<Value> {
    Json(json!({"tenant": who.tenant_id(), "user": who.id()}))
}

/// `DELETE /session`
pub(crate) async fn sign_out(session: Session) -> Result<StatusCode, Refusal> {
    session.sign_out().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /sessions`
pub(crate) async fn list(session: Session) -> Result<Json<Value>, Refusal> {
    let sessions: Vec<_> = session
        .siblings()
        .await?
        .into_iter()
        .map(|one| {
            let created = one.created.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            json!({"id": one.id, "device": one.device, "created": created, "current": one.current})
        })
        .collect();
    Ok(Json(json!({"sessions": sessions})))
}

/// `DELETE /sessions`
pub(crate) async fn sign_out_everywhere(session: Session) -> Result<StatusCode, Refusal> {
    session.revoke_all(Current::Included).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(name: &'static str, value: &str) -> Result<(), Problem> {
    if value.contains(char::is_control) {
        return Err(invalid(format!("{name} must not hold control characters")));
    }
    if (1..=NAME_MAX).contains(&value.len()) {
        return Ok(());
    }
    Err(invalid(format!("{name} must have 1 to {NAME_MAX} bytes, it has {}", value.len())))
}
