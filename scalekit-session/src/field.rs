//! What a session holds, declared once as constants: the name and the type of every field.

use std::{fmt, marker::PhantomData};

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
    value: PhantomData<fn(T) -> T>,
}

impl<T> Field<T> {
    /// A field of this name.
    ///
    /// # Panics
    /// For a bad name; in a `const`, that is an error of the compiler.
    pub const fn new(name: &'static str) -> Self {
        check(name);
        Self { name, value: PhantomData }
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
