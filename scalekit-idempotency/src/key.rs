//! The `Idempotency-Key` header: what is a key, and what is refused.

use std::fmt;

use http::{HeaderMap, HeaderName, StatusCode};
use scalekit_core::http::Problem;

/// The request header.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key, in bytes after unescaping.
const LONGEST: usize = 255;

/// A client's key, as it identifies the request: without quotes and escapes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Reads the key of a request.
    ///
    /// The header is an RFC 8941 string (`"8e03978e"`, as the IETF draft asks) or, as most clients send it, the
    /// same characters without quotes; both are one identity.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or_else(missing)?;
        if values.next().is_some() {
            return Err(malformed("it is sent more than once"));
        }
        let text = value.as_bytes().trim_ascii();
        let key = match text {
            [b'"', quoted @ ..] => unquote(quoted)?,
            bare => plain(bare)?,
        };
        match key.len() {
            0 => Err(malformed("it is empty")),
            1..=LONGEST => Ok(Self(key)),
            _ => Err(malformed("it is longer than 255 characters")),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The rest of an RFC 8941 string after its opening quote.
fn unquote(text: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut key = Vec::with_capacity(text.len().min(LONGEST));
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if bytes.len() == 0 => return Ok(key),
            b'"' => return Err(malformed("something follows the closing quote")),
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(escaped),
                _ => return Err(malformed("only a quote or a backslash can be escaped")),
            },
            b' '..=b'~' => key.push(byte),
            _ => return Err(malformed("it holds a character that is not printable ASCII")),
        }
    }
    Err(malformed("the closing quote is missing"))
}

/// A key without quotes: printable, and nothing that would make it a list or a parameter.
fn plain(text: &[u8]) -> Result<Vec<u8>, Problem> {
    match text.iter().find(|byte| !matches!(byte, b'!'..=b'~') || matches!(byte, b',' | b';' | b'"' | b'\\'))
    {
        None => Ok(text.to_vec()),
        Some(b',') => Err(malformed("it is a list")),
        Some(_) => Err(malformed("it holds a character that needs quotes or is not printable ASCII")),
    }
}

fn missing() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "idempotency-key-missing",
        "This operation needs an Idempotency-Key header",
    )
}

fn malformed(why: &'static str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "idempotency-key-malformed",
        "The Idempotency-Key header is malformed",
    )
    .with_detail(why)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        Key::of(&headers).ok().map(|key| key.0)
    }

    #[test]
    fn quoted_and_bare_are_one_identity() {
        assert_eq!(read(&[b"\"8e03-97\""]), read(&[b"8e03-97"]));
        assert_eq!(read(&[b" 8e03-97 "]).unwrap(), b"8e03-97");
        assert_eq!(read(&[br#""a\"b\\c""#]).unwrap(), br#"a"b\c"#);
        assert_eq!(read(&[b"tenant:7/order"]).unwrap(), b"tenant:7/order");
        assert_eq!(read(&[&[b'k'; 255]]).unwrap().len(), 255);
    }

    #[test]
    fn everything_else_is_refused() {
        let long = [b'k'; 256];
        let refused: [&[&[u8]]; 16] = [
            &[],
            &[b""],
            &[b"  "],
            &[b"\"\""],
            &[b"\"open"],
            &[b"\"a\"b"],
            &[b"\"a\\x\""],
            &[b"\"a\\"],
            &[b"a,b"],
            &[b"a b"],
            &[b"a;b=1"],
            &[b"caf\xc3\xa9"],
            &[b"\"\xff\""],
            &[b"a", b"b"],
            &[b"a", b"a"],
            &[&long],
        ];
        for values in refused {
            assert_eq!(read(values), None, "{values:?}");
        }
    }
}
