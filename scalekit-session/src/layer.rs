//! The middleware: a session for every request, its commit after the handler, a cookie only when needed.

use std::{fmt, sync::Arc};

use axum_core::response::IntoResponse;
use http::{HeaderValue, header};
use scalekit_core::{
    Error, ErrorKind, Hop, Participants, Result,
    http::{Around, Place, Problem, Request, Response},
};
use tower_service::Service;

use crate::{
    Session,
    commit::Hand,
    inner::{Inner, Known, Shared},
    participant::Participant,
};

/// The middleware behind [`Sessions::layer`](crate::Sessions::layer).
#[derive(Clone)]
pub struct SessionLayer(pub(crate) Arc<Shared>);

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionLayer")
    }
}

impl Around for SessionLayer {
    async fn around<S>(self, mut request: Request, mut inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let found = self.0.cookie.read(request.headers(), &self.0.namespace, &self.0.ring);
        let session = Arc::new(Inner::new(self.0, found));
        let extensions = request.extensions_mut();
        if let Err(misplaced) = Place::Session.enter(extensions) {
            return Ok(misplaced.into_response());
        }
        extensions.insert(Session(session.clone()));
        let mut participants = extensions.remove::<Participants>().unwrap_or_default();
        participants.add(Arc::new(Participant(session.clone())));
        extensions.insert(participants);

        let response = inner.call(request).await?;
        Ok(finish(session, response).await)
    }
}

/// Commits what the handler asked for and completes its response.
async fn finish(session: Arc<Inner>, mut response: Response) -> Response {
    let mut hand = Hand::Nothing;
    if session.has_work() && !response.status().is_server_error() {
        // In a task of its own: a client that hangs up now must not tear a sign-in in two.
        let task = tokio::spawn({
            let session = session.clone();
            async move {
                let signals = &session.shared.signals;
                signals.time(Hop::Cache, "session_commit", session.commit()).await
            }
        });
        let outcome = task.await.unwrap_or_else(|error| {
            // The runtime that ends drops its tasks in any order.
            let how =
                if error.is_panic() { "the session's commit panicked" } else { "the process is ending" };
            Err(Error::new(ErrorKind::OutcomeUnknown, how).with_source(error))
        });
        match outcome {
            Ok(handed) => hand = handed,
            Err(error) => return refuse(&error),
        }
    }
    let shared = &session.shared;
    let cookie = match hand {
        Hand::Nothing => None,
        Hand::Give(ticket) => Some(shared.cookie.give(&ticket, &shared.namespace, &shared.ring)),
        Hand::Take => Some(shared.cookie.take()),
    };
    match cookie {
        Some(Ok(cookie)) => send(cookie, &mut response),
        Some(Err(error)) => return refuse(&error),
        None => {}
    }
    if !matches!(session.lock().known, Known::Not) {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("cookie"));
    }
    response
}

/// A response with a session's cookie is for one client only, whatever the handler said.
fn send(cookie: HeaderValue, response: &mut Response) {
    let headers = response.headers_mut();
    headers.append(header::SET_COOKIE, cookie);
    // A cookie does not keep a shared cache from storing a response: only these two words do.
    let own =
        headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            let mut words = value.split(',').map(str::trim);
            words.any(|word| word.eq_ignore_ascii_case("private") || word.eq_ignore_ascii_case("no-store"))
        });
    if !own {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
}

/// The handler may have had effects elsewhere: a failed commit is never reported as if nothing had happened,
/// and never as a fault of the handler.
fn refuse(error: &Error) -> Response {
    tracing::warn!(kind = ?error.kind(), cause = std::error::Error::source(error), "session commit failed: {error}");
    match error.kind() {
        ErrorKind::Conflict | ErrorKind::TooLarge | ErrorKind::Invalid => {
            Problem::from(error).into_response()
        }
        _ => {
            let wait = error.retry_after().unwrap_or(std::time::Duration::from_secs(1));
            let unknown = Error::new(ErrorKind::OutcomeUnknown, "the session's commit failed");
            Problem::from(&unknown.with_retry_after(wait)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_with_a_cookie_is_never_for_shared_caches() {
        for (said, sent) in [
            (&[][..], "private, no-cache"),
            (&["max-age=60"], "private, no-cache"),
            (&["no-cache"], "private, no-cache"),
            (&["public, max-age=60"], "private, no-cache"),
            (&["max-age=60, Private"], "max-age=60, Private"),
            (&["max-age=60", "no-store"], "max-age=60"),
        ] {
            let mut response = Response::default();
            for value in said {
                response.headers_mut().append(header::CACHE_CONTROL, HeaderValue::from_static(value));
            }
            send(HeaderValue::from_static("id=x"), &mut response);
            assert_eq!(response.headers()[header::CACHE_CONTROL], sent, "{said:?}");
        }
    }
}
