//! The handlers, one file per subject.

pub(crate) mod cart;
pub(crate) mod checkout;
pub(crate) mod operations;
pub(crate) mod orders;
pub(crate) mod public;
pub(crate) mod session;
