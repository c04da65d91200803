//! Taking money: the client of a payment provider, and a provider for when none is named.

mod client;
mod simulator;

pub(crate) use client::{Charge, Charged, Payments};
pub(crate) use simulator::Simulator;
