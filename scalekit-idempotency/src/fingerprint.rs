//! Whether a second request under a key asks for the same thing as the first.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use http::request::Parts;
use scalekit_core::{Error, ErrorKind, Result};

const SALT: usize = 16;

/// SHA-256 over a random salt, the method, the path, the query and the body; stored as salt and digest.
///
/// The salt keeps a stolen record from telling which of a few likely bodies was sent. It depends on no key ring:
/// a rotation must not turn a retry into a mismatch.
#[derive(Clone)]
pub(crate) struct Fingerprint {
    /// The digest without salt, which stays in the process.
    request: [u8; 32],
}

impl Fingerprint {
    pub(crate) fn of(parts: &Parts, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        let query = parts.uri.query();
        for part in [
            parts.method.as_str().as_bytes(),
            parts.uri.path().as_bytes(),
            &[u8::from(query.is_some())],
            query.unwrap_or_default().as_bytes(),
            body,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self { request: hash.finalize().into() }
    }

    /// The bytes to store, under a new salt.
    pub(crate) fn seal(&self) -> Result<Vec<u8>> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt)
            .map_err(|cause| Error::new(ErrorKind::Internal, "no random bytes").with_source(cause))?;
        Ok(self.salted(&salt))
    }

    /// Whether `stored` was sealed by an equal request.
    pub(crate) fn matches(&self, stored: &[u8]) -> bool {
        stored.get(..SALT).is_some_and(|salt| self.salted(salt).ct_eq(stored).into())
    }

    fn salted(&self, salt: &[u8]) -> Vec<u8> {
        let digest = Sha256::new().chain_update(salt).chain_update(self.request).finalize();
        [salt, digest.as_slice()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str, body: &[u8]) -> Fingerprint {
        let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        Fingerprint::of(&parts, body)
    }

    #[test]
    fn every_part_counts_and_the_salt_hides_equality() {
        let first = of("POST", "/pay?a=1", b"{}");
        let sealed = first.seal().unwrap();
        assert!(of("POST", "/pay?a=1", b"{}").matches(&sealed));
        for other in [
            of("PUT", "/pay?a=1", b"{}"),
            of("POST", "/pays?a=1", b"{}"),
            of("POST", "/pay?a=2", b"{}"),
            of("POST", "/pay", b"{}"),
            of("POST", "/pay?a=1", b"{ }"),
        ] {
            assert!(!other.matches(&sealed));
        }
        assert!(!of("POST", "/pay", b"").matches(&of("POST", "/pay?", b"").seal().unwrap()));
        assert_ne!(sealed, first.seal().unwrap());
        assert!(!first.matches(&[]) && !first.matches(&sealed[..20]));
    }
}
