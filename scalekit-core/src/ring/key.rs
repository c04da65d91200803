//! One key, and those that are derived from it.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Purposes of a key whose derived one is kept: deriving costs more than the signature itself.
pub(super) const MAX_DERIVED: usize = 16;

pub(super) struct Key {
    pub(super) id: Box<str>,
    uses: AtomicU64,
    /// Extracted once; every purpose expands its own key from it.
    root: Hkdf<Sha256>,
    derived: RwLock<Vec<(Box<str>, Hmac<Sha256>)>>,
}

impl Key {
    pub(super) fn new(id: &str, secret: &[u8; 32]) -> Self {
        Self {
            id: id.into(),
            uses: AtomicU64::new(0),
            root: Hkdf::new(None, secret),
            derived: RwLock::default(),
        }
    }

    /// Counts what it was found to have made.
    pub(super) fn used(&self, times: u64) {
        self.uses.fetch_add(times, Ordering::Relaxed);
    }

    pub(super) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Tells keys apart, and nothing of them.
    pub(super) fn print(&self) -> [u8; 32] {
        self.derive("fingerprint", "")
    }

    pub(super) fn tag(&self, label: &str, message: &[u8]) -> [u8; 32] {
        let mut mac = self.mac(label);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn mac(&self, label: &str) -> Hmac<Sha256> {
        let of_label = |(known, _): &&(Box<str>, _)| **known == *label;
        let derived = self.derived.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mac)) = derived.iter().find(of_label) {
            return mac.clone();
        }
        drop(derived);
        let mac = Hmac::<Sha256>::new(&self.derive::<64>("mac", label).into());
        let mut derived = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        if derived.len() < MAX_DERIVED && !derived.iter().any(|known| of_label(&known)) {
            derived.push((label.into(), mac.clone()));
        }
        mac
    }

    pub(super) fn cipher(&self, label: &str) -> Aes256Gcm {
        Aes256Gcm::new(&self.derive::<32>("seal", label).into())
    }

    pub(super) fn derive<const N: usize>(&self, purpose: &str, label: &str) -> [u8; N] {
        let mut out = [0; N];
        let info = [b"scalekit-1/".as_slice(), purpose.as_bytes(), b"/", label.as_bytes()];
        let expanded = self.root.expand_multi_info(&info, &mut out);
        debug_assert!(expanded.is_ok(), "HKDF-SHA256 expands to 8,160 bytes");
        out
    }
}
