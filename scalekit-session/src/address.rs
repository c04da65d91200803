//! Where things are: from a ticket or a user to the keys in the store.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use scalekit_core::{Error, ErrorKind, KeyRing, Principal, Result, hash_tag};

use crate::{cookie::Ticket, store::SessionKey};

const LABEL: &str = "session user";

/// Refuses a namespace that would mean something to the store, or would be long in every key.
pub(crate) fn check_namespace(namespace: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    match (1..=64).contains(&namespace.len()) && namespace.bytes().all(plain) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Config, "a namespace of sessions is 1 to 64 of A-Za-z0-9._-:")),
    }
}

/// The key of a ticket's session.
pub(crate) fn session_key(namespace: &str, ticket: &Ticket) -> Result<SessionKey> {
    recorded_key(namespace, &tag_text(ticket.tag), ticket.digest())
}

/// The key of a session whose tag and digest were recorded.
pub(crate) fn recorded_key(namespace: &str, tag: &str, member: String) -> Result<SessionKey> {
    Ok(SessionKey { prefix: hash_tag(namespace, tag, "s:")?, member })
}

/// A user's sessions: the tag they share, and the index of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserPlace {
    pub(crate) tag: [u8; 2],
    pub(crate) index: String,
    /// What the keys of the sessions start with.
    pub(crate) prefix: String,
}

impl UserPlace {
    /// Where new sessions go: under the ring's first key.
    pub(crate) fn current(namespace: &str, ring: &KeyRing, user: &Principal) -> Result<Self> {
        Self::of(namespace, ring.sign(LABEL, &message(user)))
    }

    /// Where sessions may be: one place for each key of the ring, so that a rotation loses none of them.
    pub(crate) fn all(namespace: &str, ring: &KeyRing, user: &Principal) -> Result<Vec<Self>> {
        ring.sign_all(LABEL, &message(user)).into_iter().map(|mac| Self::of(namespace, mac)).collect()
    }

    fn of(namespace: &str, mac: [u8; 32]) -> Result<Self> {
        let [a, b, rest @ ..] = mac;
        let (tag, name) = ([a, b], URL_SAFE_NO_PAD.encode(&rest[..18]));
        let text = tag_text(tag);
        let index = hash_tag(namespace, &text, format_args!("u:{name}"))?;
        Ok(Self { tag, index, prefix: hash_tag(namespace, &text, "s:")? })
    }
}

pub(crate) fn tag_text(tag: [u8; 2]) -> String {
    format!("{:04x}", u16::from_be_bytes(tag))
}

/// Length first: `("ab", "c")` is not `("a", "bc")`.
fn message(user: &Principal) -> Vec<u8> {
    let tenant = user.tenant_id().as_bytes();
    [&(tenant.len() as u64).to_be_bytes(), tenant, user.id().as_bytes()].concat()
}
