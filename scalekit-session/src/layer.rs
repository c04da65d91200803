//! The middleware: a session for every request, its commit after the handler, a cookie only when needed.

use std::{
    fmt,
    future::{Future, Ready, ready},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum_core::response::IntoResponse;
use futures_util::future::Either;
use http::{HeaderValue, header};
use pin_project_lite::pin_project;
use scalekit_core::{
    Error, ErrorKind,
    http::{Inner, Participants, Place, Problem, Request, Response, Through},
};

use crate::{
    commit::Hand,
    cookie::{Carried, Ticket},
    metrics::count,
    visit::{Shared, Visit},
};

/// The middleware behind [`Sessions::layer`](crate::Sessions::layer).
#[derive(Clone)]
pub struct SessionLayer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) prefetch: Option<Arc<Prefetch>>,
}

/// Says of which requests the session is read while the rest of the stack begins.
pub(crate) type Prefetch = dyn Fn(&Request) -> bool + Send + Sync;

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionLayer")
    }
}

impl Through for SessionLayer {
    type Future<S: Inner> = Either<Ready<Result<Response, S::Error>>, Committing<S::Future>>;

    fn through<S: Inner>(&self, mut request: Request, inner: &mut S) -> Self::Future<S> {
        let visit = Arc::new(Visit::new(self.shared.clone(), Carried::by(request.headers())));
        let extensions = request.extensions_mut();
        if let Err(misplaced) = Place::Session.enter(extensions) {
            return Either::Left(ready(Ok(misplaced.into_response())));
        }
        extensions.get_or_insert_default::<Participants>().add(visit.clone());
        if self.prefetch.as_ref().is_some_and(|wanted| wanted(&request)) {
            let visit = visit.clone();
            // Whoever reads joins it; if it fails, they are told by a try of their own.
            tokio::spawn(async move { visit.load().await.map(drop) });
        }
        Either::Right(Committing { inner: inner.call(request), visit: Some(visit), finishing: None })
    }
}

pin_project! {
    // By hand, and boxed only from the commit on: most requests of an app do not use their session.
    pub struct Committing<F> {
        #[pin]
        inner: F,
        visit: Option<Arc<Visit>>,
        finishing: Option<Pin<Box<dyn Future<Output = Response> + Send>>>,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Committing<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(finishing) = this.finishing {
            return finishing.as_mut().poll(cx).map(Ok);
        }
        let Poll::Ready(response) = this.inner.poll(cx) else {
            this.visit.iter().for_each(|visit| visit.waits());
            return Poll::Pending;
        };
        let response = response?;
        let Some(visit) = this.visit.take() else { return Poll::Ready(Ok(response)) };
        // Somebody still has it: a stream.
        if Arc::strong_count(&visit) > 1 {
            visit.waits();
        }
        if visit.is_to_finish() {
            return this.finishing.insert(Box::pin(finish(visit, response))).as_mut().poll(cx).map(Ok);
        }
        Poll::Ready(Ok(response))
    }
}

/// Commits what the handler asked for and completes its response.
async fn finish(visit: Arc<Visit>, mut response: Response) -> Response {
    let shared = &visit.shared;
    let status = response.status();
    let wanted = visit.lock().has_work() && shared.commit_on.allows(status);
    if wanted {
        // A cookie that an earlier commit of this request gave out is sent all the same.
        if let Err(error) = visit.commit().await {
            response = refuse(&error, shared);
        }
    } else {
        visit.settled().await;
    }
    let mut hand = mem::take(&mut visit.lock().hand);
    if matches!(hand, Hand::Nothing) && !response.status().is_server_error() {
        hand = visit.rotate_if_due().await;
    }
    let give = |ticket: &Ticket| shared.cookie.give(ticket, &shared.namespace, &shared.ring);
    let cookie = match hand {
        Hand::Nothing => visit.lock().reissued().map(give),
        Hand::Give(ticket) => Some(give(&ticket)),
        Hand::Take => Some(shared.cookie.take()),
    };
    let was_public = match cookie {
        Some(Ok(cookie)) => send(cookie, &mut response),
        Some(Err(error)) => return refuse(&error, shared),
        None => false,
    };
    if was_public {
        count(&shared.counters.made_private);
    }
    let mut state = visit.lock();
    state.answered = true;
    if state.read {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("cookie"));
    }
    drop(state);
    response
}

/// A response with a session's cookie is for one client only, whatever the handler said. Whether it had said that it is
/// for everybody.
fn send(cookie: HeaderValue, response: &mut Response) -> bool {
    let headers = response.headers_mut();
    headers.append(header::SET_COOKIE, cookie);
    // `private="x-user"` is about that header alone, `s-maxage` always has a number.
    let starts = |word: &str, wanted: &str| match wanted.strip_suffix('=') {
        Some(_) => word.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted)),
        None => word.eq_ignore_ascii_case(wanted),
    };
    let said = |wanted: &[&str]| {
        headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            let mut words = value.split(',').map(str::trim);
            words.any(|word| wanted.iter().any(|wanted| starts(word, wanted)))
        })
    };
    // A cookie does not keep a shared cache from storing a response: only these two words do.
    if said(&["private", "no-store"]) {
        return false;
    }
    let public = said(&["public", "s-maxage="]);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    public
}

/// The handler may have had effects elsewhere: a failed commit is never reported as if nothing had happened,
/// and never as a fault of the handler.
fn refuse(error: &Error, shared: &Shared) -> Response {
    if shared.may_log() {
        tracing::warn!(kind = ?error.kind(), cause = std::error::Error::source(error), "session commit failed: {error}");
    }
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
        for (said, sent, was_public) in [
            (&[][..], "private, no-cache", false),
            (&["max-age=60"], "private, no-cache", false),
            (&["no-cache"], "private, no-cache", false),
            (&["Public, max-age=60"], "private, no-cache", true),
            (&["max-age=60", "s-maxage=600"], "private, no-cache", true),
            (&["max-age=60, Private"], "max-age=60, Private", false),
            (&["private=\"x-user\", max-age=60"], "private, no-cache", false),
            (&["max-age=60", "no-store"], "max-age=60", false),
        ] {
            let mut response = Response::default();
            for value in said {
                response.headers_mut().append(header::CACHE_CONTROL, HeaderValue::from_static(value));
            }
            assert_eq!(send(HeaderValue::from_static("id=x"), &mut response), was_public, "{said:?}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], sent, "{said:?}");
        }
    }
}
