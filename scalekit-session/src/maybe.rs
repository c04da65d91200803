//! The session of a route that can do without.

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use scalekit_core::{Error, Result};

use crate::{Session, StaleSession};

/// The session if the store answers: an extractor for routes that are worth showing without it.
///
/// It reads the session, so that what it says is known before the handler runs. "The store does not answer" is not
/// "nobody is signed in": such a handler shows the product and leaves out the name, and does not offer to sign in.
///
/// Guarantee: the handler begins within the request's budget for the store (200 ms unless
/// [configured](crate::SessionsBuilder::request_budget)); while the store is known to be down, at once.
///
/// **Round trips**: 1, the session's load.
///
/// ```
/// use scalekit_session::MaybeSession;
///
/// async fn product(session: MaybeSession) -> scalekit_core::Result<String> {
///     Ok(match session {
///         MaybeSession::Available(session) => match session.user().await? {
///             Some(user) => format!("tea, for {}", user.id()),
///             None => "tea; sign in to order".to_owned(),
///         },
///         MaybeSession::Stale(copy) if copy.user().is_some() => "tea, for you".to_owned(),
///         MaybeSession::Stale(_) | MaybeSession::Unavailable(_) => "tea".to_owned(),
///     })
/// }
/// ```
#[derive(Clone, Debug)]
pub enum MaybeSession {
    /// It was read; it may be that of a visitor without any.
    Available(Session),
    /// The store did not answer: this is what the session held a moment ago. Only where
    /// [`stale_for`](crate::SessionsBuilder::stale_for) keeps copies.
    Stale(StaleSession),
    /// The store did not answer: nothing is known of this visitor.
    Unavailable(std::sync::Arc<Error>),
}

impl<S: Sync> FromRequestParts<S> for MaybeSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let session = Session::of(parts)?;
        match session.visit().load().await {
            Ok(_) => Ok(Self::Available(session)),
            Err(error) if error.is_transient() => Ok(match session.visit().copy()? {
                Some(copy) => Self::Stale(copy),
                None => Self::Unavailable(error.into()),
            }),
            Err(error) => Err(error),
        }
    }
}
