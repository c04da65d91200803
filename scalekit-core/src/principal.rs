//! Who a request acts for.

use std::fmt;

/// The tenant of a principal that names none.
const DEFAULT_TENANT: &str = "default";

/// The user or guest a request acts for, and the tenant whose shard holds their data.
///
/// Idempotency keys are scoped by it and transactions are placed by its tenant. Two principals are the
/// same only if kind, id and tenant are. `Debug` shows the kind alone: ids belong in no log.
///
/// ```
/// use scalekit_core::Principal;
///
/// let ada = Principal::user("ada").tenant("acme");
/// assert_eq!((ada.id(), ada.tenant_id(), ada.is_guest()), ("ada", "acme", false));
/// assert_eq!(Principal::guest("g-1").tenant_id(), "default");
/// assert_eq!(format!("{ada:?}"), "Principal(user)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    guest: bool,
    id: Box<str>,
    tenant: Option<Box<str>>,
}

impl Principal {
    /// A signed-in user.
    pub fn user(id: impl Into<Box<str>>) -> Self {
        Self { guest: false, id: id.into(), tenant: None }
    }

    /// A visitor who has not signed in but keeps an identity, such as a cart.
    pub fn guest(id: impl Into<Box<str>>) -> Self {
        Self { guest: true, id: id.into(), tenant: None }
    }

    /// The same principal in this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Box<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The user's or guest's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The tenant; `"default"` where none was named.
    pub fn tenant_id(&self) -> &str {
        self.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
    }

    /// Whether this is a guest.
    pub fn is_guest(&self) -> bool {
        self.guest
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.guest { "Principal(guest)" } else { "Principal(user)" })
    }
}
