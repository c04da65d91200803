//! The order of the layers, checked on the request itself.

use http::{Extensions, StatusCode};

use super::{Participants, Problem};

/// The place of a layer in the stack, from the outside in.
///
/// Each layer of the family calls [`enter`](Self::enter) first. A stack in the wrong order is then one clear
/// error on the first request, not a session that is silently missing.
///
/// ```
/// use scalekit_core::http::Place;
///
/// let mut request = http::Extensions::new();
/// assert!(Place::Session.enter(&mut request).is_ok());
/// assert!(Place::Idempotency.enter(&mut request).is_ok());
/// assert!(Place::Principal.enter(&mut request).is_err()); // must be outside of idempotency
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Place {
    /// Measures everything below it.
    Slo,
    /// Checks the cookie.
    Session,
    /// Names the principal, from the session.
    Principal,
    /// Claims the key, for the principal.
    Idempotency,
}

impl Place {
    /// Notes that a request has reached this layer.
    ///
    /// # Errors
    /// A 500 if it came through a layer that belongs inside this one; the log names both.
    pub fn enter(self, extensions: &mut Extensions) -> Result<(), Problem> {
        let known = extensions.get_mut::<Participants>();
        if let Some(outer) = known.as_ref().and_then(|known| known.reached).filter(|outer| *outer > self) {
            tracing::error!("the {self:?} layer stands inside the {outer:?} layer: it must be outside of it");
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"));
        }
        // The outermost leaves no mark: a request without one may be anywhere.
        if self != Self::Slo {
            extensions.get_or_insert_default::<Participants>().reached = Some(self);
        }
        Ok(())
    }
}
