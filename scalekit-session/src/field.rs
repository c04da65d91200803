//! What a session holds, declared once as constants: the name and the type of every field.

mod codec;
mod unknown;

use std::{fmt, marker::PhantomData};

use serde_json::Value;

/// Bytes of a field's name.
const MAX_NAME: usize = 64;
/// Bytes of a counter map's member.
const MAX_MEMBER: usize = 128;
/// Stands between a map's name and its member.
pub(crate) const SEPARATOR: char = ':';

/// A field that holds a value, stored as JSON.
///
/// ```
/// use scalekit_session::Field;
/// const LOCALE: Field<String> = Field::new("locale");
/// ```
///
/// A name is 1 to 64 of `a-z0-9_.-`; another one does not compile:
///
/// ```compile_fail
/// const BAD: scalekit_session::Field<String> = scalekit_session::Field::new("a:b");
/// ```
pub struct Field<T> {
    name: &'static str,
    version: u32,
    upgrade: Option<Upgrade>,
    on_corrupt: OnCorrupt,
    value: PhantomData<fn(T) -> T>,
}

/// Brings a value of an older version to the field's own; `None` if it cannot.
type Upgrade = fn(u32, Value) -> Option<Value>;

/// What a read makes of a field that holds what its type cannot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCorrupt {
    /// An error ([`ErrorKind::Corrupt`](scalekit_core::ErrorKind::Corrupt)): what is stored is worth a look.
    #[default]
    Refuse,
    /// The field reads as if it were not set, and is counted in [`Metrics::undecodable`](crate::Metrics::undecodable);
    /// it stays as it is until it is written.
    Ignore,
}

impl<T> Field<T> {
    /// A field of this name.
    ///
    /// # Panics
    /// For a bad name; in a `const`, that is an error of the compiler.
    pub const fn new(name: &'static str) -> Self {
        check(name);
        Self { name, version: 1, upgrade: None, on_corrupt: OnCorrupt::Refuse, value: PhantomData }
    }

    /// The same field, whose type has changed since it was first stored: values of older versions are brought to this
    /// one as they are read. What was stored before there were versions is of version 1.
    ///
    /// While a deployment is under way, nodes of both versions use the session. A newer value is read by an older node as
    /// it is, so let new members be optional and rename none; what the older node does not know of it survives its
    /// [`Session::update`](crate::Session::update), and not its [`set`](crate::Session::set). In an array, only elements that
    /// the older node leaves as they are keep it: let a map by id hold what both change.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use serde_json::json;
    /// use scalekit_session::Field;
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Address { lines: Vec<String>, country: Option<String> }
    ///
    /// // In version 1 it was one text.
    /// const ADDRESS: Field<Address> = Field::new("address")
    ///     .versioned(2, |_, old| Some(json!({"lines": old.as_str()?.lines().collect::<Vec<_>>()})));
    /// ```
    ///
    /// # Panics
    /// For a version below 2; in a `const`, that is an error of the compiler.
    #[must_use]
    pub const fn versioned(mut self, version: u32, upgrade: fn(u32, Value) -> Option<Value>) -> Self {
        assert!(version >= 2, "the first version is 1, and needs no upgrade");
        self.version = version;
        self.upgrade = Some(upgrade);
        self
    }

    /// What a read makes of a value that cannot be read; an error unless said otherwise.
    #[must_use]
    pub const fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.on_corrupt = on_corrupt;
        self
    }

    /// The name it is stored under.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Field<T> {}

impl<T> fmt::Debug for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.name).finish()
    }
}

/// A field that holds the newest of what was appended to it, in order, stored as JSON.
///
/// Parallel requests append without a retry; the oldest entries go in the very change that makes them too many.
///
/// ```
/// use scalekit_session::List;
/// const SEEN: List<String> = List::new("seen", 20);
/// ```
pub struct List<T> {
    name: &'static str,
    most: usize,
    value: PhantomData<fn(T) -> T>,
}

impl<T> List<T> {
    /// A list of this name that keeps so many entries.
    ///
    /// # Panics
    /// For a bad name, or a length that is not 1 to 1,000; in a `const`, that is an error of the compiler.
    pub const fn new(name: &'static str, most: usize) -> Self {
        check(name);
        assert!(most >= 1 && most <= 1_000, "a list keeps 1 to 1,000 entries");
        Self { name, most, value: PhantomData }
    }

    /// The name it is stored under.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<T> {}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("List").field(&self.name).finish()
    }
}

/// A field that holds a whole number; changes of parallel requests add up without a retry.
///
/// ```
/// use scalekit_session::Counter;
/// const VIEWS: Counter = Counter::new("views");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    name: &'static str,
}

impl Counter {
    /// A counter of this name.
    ///
    /// # Panics
    /// For a bad name; in a `const`, that is an error of the compiler.
    pub const fn new(name: &'static str) -> Self {
        check(name);
        Self { name }
    }

    /// The name it is stored under.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A map from members to whole numbers: a cart from articles to quantities.
///
/// Changes of parallel requests add up without a retry, also of the same member.
///
/// ```
/// use scalekit_session::CounterMap;
/// const CART: CounterMap = CounterMap::new("cart").dropping_empty();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CounterMap {
    name: &'static str,
    floor: bool,
}

impl CounterMap {
    /// A map of this name.
    ///
    /// # Panics
    /// For a bad name; in a `const`, that is an error of the compiler.
    pub const fn new(name: &'static str) -> Self {
        check(name);
        Self { name, floor: false }
    }

    /// The same map, whose members are removed in the very change that takes them to 0 or less.
    #[must_use]
    pub const fn dropping_empty(mut self) -> Self {
        self.floor = true;
        self
    }

    /// The name it is stored under.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn drops_empty(self) -> bool {
        self.floor
    }

    /// What the stored names of its members start with.
    pub(crate) fn prefix(self) -> String {
        format!("{}{SEPARATOR}", self.name)
    }

    /// The stored name of a member, if that is of an allowed length.
    pub(crate) fn member(self, member: &str) -> Option<String> {
        (1..=MAX_MEMBER).contains(&member.len()).then(|| self.prefix() + member)
    }
}

/// Plain names keep the separator, and the `!` of metadata, out of the user's fields.
const fn check(name: &str) {
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= MAX_NAME, "a field's name is 1 to 64 bytes long");
    let mut at = 0;
    while at < bytes.len() {
        let plain = matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        assert!(plain, "a field's name is of a-z0-9_.-");
        at += 1;
    }
}
