//! The HTTP side of the family: concrete request and response types and the seam every middleware fits.

mod around;

pub use around::{Around, AroundLayer, AroundService, Request, Response};
