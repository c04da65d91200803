//! The golden vectors: this library, and plain Python, place every key as the file says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, process::Command};

use scalekit_core::skh1::{self, ShardKey, Slot};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    Text(String),
    U64(String),
    I64(String),
    Uuid(Uuid),
    Bytes(String),
    Tuple(Vec<Key>),
}

#[derive(Deserialize)]
struct Vector {
    key: Key,
    hash: String,
    slot: u16,
    encoded: Option<String>,
}

#[derive(Deserialize)]
struct File {
    name: String,
    slots: u16,
    count: usize,
    sha256_of_the_rest: String,
    vectors: Vec<Vector>,
}

impl ShardKey for Key {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => text.write(out),
            Self::U64(number) => number.parse::<u64>().unwrap().write(out),
            Self::I64(number) => number.parse::<i64>().unwrap().write(out),
            Self::Uuid(id) => id.write(out),
            Self::Bytes(hex) => unhex(hex).write(out),
            Self::Tuple(parts) => match parts.as_slice() {
                [a] => (a,).write(out),
                [a, b] => (a, b).write(out),
                [a, b, c] => (a, b, c).write(out),
                [a, b, c, d] => (a, b, c, d).write(out),
                [a, b, c, d, e] => (a, b, c, d, e).write(out),
                [a, b, c, d, e, f] => (a, b, c, d, e, f).write(out),
                _ => panic!("a tuple of {} parts", parts.len()),
            },
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_vector_is_placed_as_written() {
    let text = std::fs::read_to_string(folder().join("skh1.json")).unwrap();
    let file: File = serde_json::from_str(&text).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    assert_eq!(hex(&Sha256::digest(rest)), file.sha256_of_the_rest, "the file is not as it was written");
    assert_eq!((file.name.as_str(), file.slots), (skh1::NAME, skh1::SLOTS));
    assert_eq!(file.vectors.len(), file.count);
    assert!(file.count >= 10_000);
    for Vector { key, hash, slot, encoded } in &file.vectors {
        let bytes = skh1::key_bytes(key);
        if let Some(encoded) = encoded {
            assert_eq!(&hex(&bytes), encoded, "{key:?}");
        }
        assert_eq!(format!("{:016x}", skh1::hash_bytes(&bytes)), *hash, "{key:?}");
        assert_eq!(Slot::of(key).get(), *slot, "{key:?}");
    }
}

#[test]
fn plain_python_agrees_with_every_vector() {
    let ran = Command::new("python3").args(["-B", "-S", "skh1.py", "check"]).current_dir(folder()).output();
    let ran = ran.expect("python3 is needed to check the vectors from another language: install it");
    let (said, failed) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}{failed}");
    assert!(said.contains("vectors agree"), "{said}");
}
