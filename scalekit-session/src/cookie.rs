//! The cookie: what the browser is told, and how a ticket is read without asking a store.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cookie::Cookie as Text;
use http::{HeaderMap, HeaderValue, header};
use scalekit_core::{Error, ErrorKind, KeyRing, Result};
use sha2::{Digest, Sha256};

use crate::{metrics::count, visit::Shared};

/// The first byte of a ticket; another layout gets other numbers.
const GUEST: u8 = 1;
const USER: u8 = 2;
const MAC: usize = 16;
const SIGNED: usize = 1 + 2 + 4 + 16;
const LENGTH: usize = SIGNED + MAC;
/// Cookies of our name that are looked at in one request; an attacker can send many.
const MAX_CANDIDATES: usize = 4;
const LABEL: &str = "session cookie";
const SUCCESSOR: &str = "session successor";

/// How the session's cookie is sent: always `HttpOnly`, `Path=/`, without `Domain` and without an expiry of its own, and
/// with `SameSite`, [`Lax`](SameSite::Lax) unless said otherwise.
///
/// ```
/// use scalekit_session::{Cookie, SameSite};
///
/// assert_eq!(Cookie::host("id").name(), "__Host-id");
/// assert_eq!(Cookie::dev("id").name(), "id");
///
/// // For an app that other sites show in a frame: a cookie for each of them.
/// let embedded = Cookie::host("id").same_site(SameSite::None).partitioned();
/// ```
#[derive(Clone, Debug)]
pub struct Cookie {
    name: String,
    secure: bool,
    same_site: SameSite,
    partitioned: bool,
}

/// With which requests from other sites a browser sends the cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// None, not even when a link is followed: its user seems to be signed out at first.
    Strict,
    /// Those that follow a link.
    #[default]
    Lax,
    /// All of them; for an app in a frame of another site. Needs `Secure`, and a defence of your own against forged
    /// requests.
    None,
}

impl Cookie {
    /// `__Host-<name>` with `Secure`: no subdomain and no plain-text page can set it. The default, with `id`.
    pub fn host(name: &str) -> Self {
        Self::named(format!("__Host-{name}"), true)
    }

    /// `<name>` without `Secure`, for plain http on the loopback interface while developing.
    pub fn dev(name: &str) -> Self {
        Self::named(name.to_owned(), false)
    }

    /// With which requests from other sites it is sent.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// One for each site that embeds the app (`Partitioned`): browsers that block third-party cookies keep it. Needs
    /// `Secure`.
    #[must_use]
    pub fn partitioned(mut self) -> Self {
        self.partitioned = true;
        self
    }

    /// The name as it is sent.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn check(&self) -> Result<()> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let plain = (1..=64).contains(&self.name.len()) && self.name.bytes().all(token);
        if !plain {
            return Err(Error::new(ErrorKind::Config, "a cookie's name is up to 64 of A-Za-z0-9_-"));
        }
        if !self.secure && (self.partitioned || self.same_site == SameSite::None) {
            let message =
                "browsers take a cookie with SameSite=None or Partitioned only with Secure: use Cookie::host";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(())
    }

    fn named(name: String, secure: bool) -> Self {
        Self { name, secure, same_site: SameSite::default(), partitioned: false }
    }

    /// The header that hands a ticket to the client.
    pub(crate) fn give(&self, ticket: &Ticket, namespace: &str, ring: &KeyRing) -> Result<HeaderValue> {
        to_header(&self.text(ticket.sign(namespace, ring)))
    }

    /// The header that takes it away.
    pub(crate) fn take(&self) -> Result<HeaderValue> {
        let mut text = self.text(String::new());
        text.make_removal();
        to_header(&text)
    }

    fn text(&self, value: String) -> Text<'_> {
        Text::build((self.name.as_str(), value))
            .path("/")
            .http_only(true)
            .same_site(match self.same_site {
                SameSite::Strict => cookie::SameSite::Strict,
                SameSite::Lax => cookie::SameSite::Lax,
                SameSite::None => cookie::SameSite::None,
            })
            .secure(self.secure)
            .partitioned(self.partitioned)
            .build()
    }
}

fn to_header(text: &Text<'_>) -> Result<HeaderValue> {
    HeaderValue::try_from(text.to_string())
        .map_err(|error| Error::new(ErrorKind::Internal, "the cookie is no header value").with_source(error))
}

/// What a request's cookies hold, looked at when somebody asks: a request that does not use its session pays for no MAC.
#[derive(Default)]
pub(crate) enum Carried {
    /// Nearly always there is one header.
    Unread(Option<HeaderValue>, Vec<HeaderValue>),
    #[default]
    Nothing,
    Forged,
    Ticket(Ticket),
}

impl Carried {
    pub(crate) fn by(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(header::COOKIE).into_iter().cloned();
        match all.next() {
            Some(first) => Self::Unread(Some(first), all.collect()),
            None => Self::Nothing,
        }
    }

    /// The ticket; whatever is not ours is as if it were not there.
    pub(crate) fn read(&mut self, shared: &Shared) -> Option<&Ticket> {
        if let Self::Unread(first, more) = self {
            *self = Self::found(first.iter().chain(more.iter()), shared);
        }
        match self {
            Self::Ticket(ticket) => Some(ticket),
            _ => None,
        }
    }

    /// Whether a cookie of our name was there, whatever was in it; to be asked after [`read`](Self::read).
    pub(crate) fn had_cookie(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    fn found<'a>(headers: impl Iterator<Item = &'a HeaderValue>, shared: &Shared) -> Self {
        // As bytes: a neighbour's cookie may hold any, and must not hide ours.
        let pairs = headers.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let pairs = pairs.filter_map(|pair| split_once(pair.trim_ascii(), b'='));
        let ours = pairs.filter(|(name, _)| *name == shared.cookie.name.as_bytes()).take(MAX_CANDIDATES);
        let mut found = Self::Nothing;
        for (_, value) in ours {
            match Ticket::verify(value, &shared.namespace, &shared.ring) {
                Some(ticket) => return Self::Ticket(ticket),
                None => found = Self::Forged,
            }
        }
        if matches!(found, Self::Forged) {
            count(&shared.counters.forged);
        }
        found
    }
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let found = text.iter().position(|byte| *byte == at)?;
    Some((&text[..found], &text[found + 1..]))
}

/// What the browser holds: where the session is and the secret that opens it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Whether it was issued at a sign-in.
    pub(crate) of_user: bool,
    pub(crate) tag: [u8; 2],
    /// When it was issued, in seconds since the Unix epoch by the issuing process's clock.
    pub(crate) issued: u32,
    secret: [u8; 16],
}

impl Ticket {
    /// A ticket that nobody can guess.
    pub(crate) fn issue(tag: [u8; 2], of_user: bool, now_ms: u64) -> Result<Self> {
        Ok(Self { of_user, tag, issued: seconds(now_ms), secret: random()? })
    }

    /// The tickets that a rotation of this one may have given, under each key of the ring, the first key's first.
    ///
    /// They follow from the secret, so that parallel rotations give the same one, and that a ticket which did not
    /// arrive can be given again; only the ring's holders can find them.
    pub(crate) fn successors(&self, ring: &KeyRing, now_ms: u64) -> Vec<Self> {
        let secrets = ring.sign_all(SUCCESSOR, &self.secret).into_iter();
        let secrets = secrets.filter_map(|mac| mac.first_chunk().copied());
        secrets.map(|secret| Self { secret, issued: seconds(now_ms), ..self.clone() }).collect()
    }

    /// What the store knows of the secret.
    pub(crate) fn digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.secret))
    }

    fn sign(&self, namespace: &str, ring: &KeyRing) -> String {
        let signed = self.signed();
        let mac = ring.sign(LABEL, &message(namespace, &signed));
        URL_SAFE_NO_PAD.encode([signed.as_slice(), &mac[..MAC]].concat())
    }

    fn verify(text: &[u8], namespace: &str, ring: &KeyRing) -> Option<Self> {
        // 39 bytes are 52 characters without a spare bit, so that there is one text for one ticket.
        let mut bytes = [0; LENGTH];
        if text.len() != LENGTH / 3 * 4 || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != LENGTH {
            return None;
        }
        let (signed, mac) = bytes.split_at(SIGNED);
        if !ring.verify(LABEL, &message(namespace, signed), mac) {
            return None;
        }
        let (layout, rest) = signed.split_first()?;
        let (tag, rest) = rest.split_first_chunk()?;
        let (issued, secret) = rest.split_first_chunk()?;
        let of_user = match *layout {
            GUEST => false,
            USER => true,
            _ => return None,
        };
        let issued = u32::from_be_bytes(*issued);
        Some(Self { of_user, tag: *tag, issued, secret: secret.try_into().ok()? })
    }

    fn signed(&self) -> Vec<u8> {
        let layout = if self.of_user { USER } else { GUEST };
        [[layout].as_slice(), &self.tag, &self.issued.to_be_bytes(), &self.secret].concat()
    }
}

/// The namespace is signed too: services that share a ring do not accept each other's tickets.
fn message(namespace: &str, signed: &[u8]) -> Vec<u8> {
    [namespace.as_bytes(), &[0], signed].concat()
}

fn seconds(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1_000).unwrap_or(u32::MAX)
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Internal, "no randomness").with_source(error))?;
    Ok(bytes)
}
