//! Signing, sealing, parsing and reloading.

use super::{key::MAX_DERIVED, *};

fn ring(keys: &[(&str, u8)]) -> KeyRing {
    KeyRing::from_keys(keys.iter().map(|(id, byte)| (*id, [*byte; 32]))).unwrap()
}

#[test]
fn errors_name_the_line_and_never_the_key() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let cases = [
        ("# none\n".to_owned(), "no key"),
        (format!("\n\na{key}"), "line 3"),
        (format!("a:{key}\nb:{key}"), "line 2: the key is there already"),
        (format!("a:{key}\na:{key}"), "line 2: the id is there already"),
        (format!("a b:{key}"), "line 1: an id"),
        ("a:AAAA".to_owned(), "line 1: the key is not 32 bytes"),
        (format!("a:{}", &key[1..]), "line 1: the key is not 32 bytes"),
    ];
    for (text, expected) in cases {
        let error = KeyRing::parse(&text).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error} {error:?}").contains("AAAA"), "{error:?}");
    }
    let many: Vec<(String, [u8; 32])> = (0..65).map(|at| (format!("k{at}"), [at; 32])).collect();
    assert!(KeyRing::from_keys(many.iter().map(|(id, key)| (id.as_str(), *key))).is_err());
    let shown = format!("{:?}", KeyRing::parse(&format!("a:{key}")).unwrap());
    assert_eq!(shown, r#"KeyRing(["a"])"#);
}

#[test]
fn every_bit_of_tag_and_sealed_bytes_counts() {
    let ring = ring(&[("a", 1), ("b", 2)]);
    let tag = ring.sign("l", b"m");
    assert!(ring.verify("l", b"m", &tag) && ring.verify("l", b"m", &tag[..16]));
    assert!(!ring.verify("l", b"m", &tag[..15]) && !ring.verify("l", b"m", &[]));
    let sealed = ring.seal("l", b"aad", b"plain").unwrap();
    assert_eq!(sealed.len(), 5 + 32);
    let flip = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    assert!((0..256).all(|bit| !ring.verify("l", b"m", &flip(&tag, bit))));
    assert!((0..sealed.len() * 8).all(|bit| ring.open("l", b"aad", &flip(&sealed, bit)).is_none()));
    assert!((0..sealed.len()).all(|cut| ring.open("l", b"aad", &sealed[..cut]).is_none()));
    assert_ne!(sealed, ring.seal("l", b"aad", b"plain").unwrap(), "a nonce came twice");
}

#[test]
fn a_reload_reaches_every_clone_and_says_what_it_breaks() {
    let serving = ring(&[("a", 1)]);
    let clone = serving.clone();
    let tag = serving.sign("l", b"m");
    let warns = |keys: &[(&str, u8)]| serving.reload(ring(keys)).unwrap().warning;
    assert_eq!(warns(&[("a", 1), ("b", 2)]), None);
    assert_eq!(clone.sign("l", b"m"), tag, "the new key is accepted and does not sign yet");
    assert!(clone.verify("l", b"m", &ring(&[("b", 2)]).sign("l", b"m")));
    assert_eq!(warns(&[("b", 2), ("a", 1)]), None);
    assert!(clone.sign("l", b"m") != tag && clone.verify("l", b"m", &tag));
    assert_eq!(clone.uses(), [("b".to_owned(), 1), ("a".to_owned(), 1)], "counted over reloads");
    assert_eq!(warns(&[("b", 2)]), None, "it had not signed for a while");
    assert!(!clone.verify("l", b"m", &tag));
    assert!(warns(&[("c", 3), ("b", 2)]).unwrap().contains("\"c\" signs without"));
    assert!(warns(&[("b", 2)]).unwrap().contains("\"c\" signed until now"));
    // One id is one key.
    let refused = serving.reload(ring(&[("b", 9)])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("\"b\""), "{refused}");
    assert_eq!(serving.fingerprints(), ring(&[("b", 2)]).fingerprints());
}

#[test]
fn rotation_keeps_what_older_keys_made() {
    let (old, both, new) = (ring(&[("a", 1)]), ring(&[("b", 2), ("a", 1)]), ring(&[("b", 2)]));
    let tag = old.sign("l", b"m");
    let sealed = old.seal("l", b"", b"p").unwrap();
    assert!(both.verify("l", b"m", &tag) && both.open("l", b"", &sealed).is_some());
    assert!(!new.verify("l", b"m", &tag) && new.open("l", b"", &sealed).is_none());
    assert_eq!(both.sign_all("l", b"m"), [new.sign("l", b"m"), tag]);
    assert_ne!(both.fingerprint(), ring(&[("a", 1), ("b", 2)]).fingerprint());
    assert_eq!(both.fingerprint(), both.clone().fingerprint());
    // Also when more purposes have been asked for than are kept.
    let labels: Vec<String> = (0..2 * MAX_DERIVED).map(|at| at.to_string()).collect();
    let tags: HashSet<_> = labels.iter().map(|label| both.sign(label, b"m")).collect();
    assert_eq!(tags.len(), labels.len());
    assert!(labels.iter().all(|label| tags.contains(&both.sign(label, b"m"))));
}
