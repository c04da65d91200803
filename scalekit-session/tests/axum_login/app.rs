//! An application on axum-login as it is written with any store: the store is a parameter, and all that differs.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Form, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_login::{AuthManagerLayerBuilder, AuthUser, AuthnBackend, login_required};
use serde::Deserialize;
use time::Duration;
use tokio::sync::Barrier;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, session};

type AuthSession = axum_login::AuthSession<Users>;

#[derive(Clone, Debug)]
pub(crate) struct User {
    id: u64,
    name: &'static str,
    password: &'static str,
}

impl AuthUser for User {
    type Id = u64;

    fn id(&self) -> u64 {
        self.id
    }

    fn session_auth_hash(&self) -> &[u8] {
        self.password.as_bytes()
    }
}

#[derive(Clone, Deserialize)]
pub(crate) struct Credentials {
    name: String,
    password: String,
    next: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Users(Arc<[User]>);

impl AuthnBackend for Users {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, given: Credentials) -> Result<Option<User>, Infallible> {
        let known = self.0.iter().find(|user| user.name == given.name && user.password == given.password);
        Ok(known.cloned())
    }

    async fn get_user(&self, id: &u64) -> Result<Option<User>, Infallible> {
        Ok(self.0.iter().find(|user| user.id == *id).cloned())
    }
}

/// Two wait here: a request that has read its session, and the test.
pub(crate) type Gate = Arc<Barrier>;

pub(crate) fn app<S: SessionStore + Clone>(store: S, gate: &Gate) -> Router {
    let users = Users(Arc::new([
        User { id: 1, name: "ada", password: "lovelace" },
        User { id: 2, name: "bob", password: "builder" },
    ]));
    let sessions = SessionManagerLayer::new(store).with_expiry(Expiry::OnInactivity(Duration::hours(1)));
    let auth = AuthManagerLayerBuilder::new(users, sessions).build();
    Router::new()
        .route("/me", get(me))
        .route_layer(login_required!(Users, login_url = "/login"))
        .route("/login", get(form).post(login))
        .route("/logout", post(logout))
        .route("/cart", get(cart))
        .route("/cart/{sku}", post(add))
        .route("/slow/{sku}", post(add_slowly))
        .layer(auth)
        .with_state(gate.clone())
}

async fn me(auth: AuthSession) -> String {
    auth.user.map(|user| user.name.to_owned()).unwrap_or_default()
}

async fn form() -> Html<&'static str> {
    Html(
        "<form method=post><input name=name><input name=password type=password><button>Sign in</button></form>",
    )
}

async fn login(mut auth: AuthSession, Form(given): Form<Credentials>) -> Response {
    match auth.authenticate(given.clone()).await {
        Ok(Some(user)) => match auth.login(&user).await {
            Ok(()) => Redirect::to(given.next.as_deref().unwrap_or("/me")).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        },
        Ok(None) => StatusCode::UNAUTHORIZED.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn logout(mut auth: AuthSession) -> Response {
    match auth.logout().await {
        Ok(_) => Redirect::to("/login").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const SKUS: [&str; 4] = ["tea", "milk", "salt", "rice"];

async fn cart(session: Session) -> Result<Json<Vec<&'static str>>, StatusCode> {
    let mut skus = Vec::new();
    for sku in SKUS {
        if session.get::<u32>(sku).await.map_err(failed)?.is_some() {
            skus.push(sku);
        }
    }
    Ok(Json(skus))
}

async fn add(session: Session, Path(sku): Path<String>) -> Result<(), StatusCode> {
    session.insert(&sku, 1).await.map_err(failed)
}

async fn add_slowly(
    session: Session,
    State(gate): State<Gate>,
    Path(sku): Path<String>,
) -> Result<(), StatusCode> {
    session.insert(&sku, 1).await.map_err(failed)?;
    gate.wait().await;
    gate.wait().await;
    Ok(())
}

fn failed(_: session::Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}
