//! The HTTP side of the family: concrete request and response types, the seam every middleware fits,
//! problem responses and the principal's layer.

mod around;
mod operation;
mod participants;
mod place;
mod principal;
mod problem;
mod whose;

pub use around::{Around, AroundLayer, AroundService, Inner, Request, Response, Through};
pub use participants::Participants;
pub use place::Place;
pub use principal::{Authenticate, RequirePrincipal, principal_layer};
pub use problem::{Problem, Shed};
#[cfg_attr(not(feature = "slo"), allow(unused_imports, reason = "only what measures asks"))]
pub(crate) use whose::Whose;
