//! What the command line accepts, and with which words it refuses.

use super::*;

/// A shard that this build accepts.
fn with_shard(args: &[&str]) -> Vec<OsString> {
    let shard = format!("--shard=a={}", crate::db::EXAMPLE);
    ["checkout", &shard].iter().chain(args).map(OsString::from).collect()
}

fn settings(args: &[&str]) -> Settings {
    match Settings::parse(with_shard(args)) {
        Ok(settings) => settings,
        Err(refused) => panic!("{args:?}: {refused:?}"),
    }
}

fn refusal(args: &[&str]) -> String {
    match Settings::parse(with_shard(args)) {
        Err(Refused::Usage(line)) => line,
        other => panic!("{args:?} was not refused: {other:?}"),
    }
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = settings(&[]);
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!((settings.pods, settings.pool_max, settings.processes), (1, 10, 4));
    assert_eq!(settings.events, Events::Memory);
    assert!(settings.public_url.is_none() && settings.payments.is_none());
    assert!(settings.redis.is_empty() && settings.key_ring.is_none());
}

#[test]
fn each_bad_value_is_one_line_that_names_the_option() {
    let cases: &[(&[&str], &str)] = &[
        (&["--listen=here"], "--listen: \"here\" is not an address such as 127.0.0.1:8080"),
        (&["--listen=0.0.0.0:80"], "say by --public-url"),
        (&["--public-url=http://shop.example"], "would send the session cookie in the clear"),
        (&["--public-url=ftp://localhost"], "the scheme is \"ftp\""),
        (&["--public-url=shop"], "--public-url: \"shop\" is not a URL"),
        (&["--naming=mine"], "--naming: \"mine\" is neither semconv nor classic"),
        (&["--pods=0"], "invalid value '0' for '--pods <N>'"),
        (&["--pods=33"], "33 is not in 1..=32"),
        (&["--pool-max=none"], "'--pool-max <N>'"),
        (&["--processes=0"], "'--processes <N>'"),
        (&["--events=redis"], "--events redis needs --redis URL"),
        (&["--events=kafka://k:9092"], "--events: Kafka is not built in"),
        (&["--events=nats://n:4222"], "--events: NATS is not built in"),
        (&["--events=pigeon"], "is none of memory, redis"),
        (&["--redis=http://h"], "--redis: the scheme is \"http\", not redis"),
        (&["--redis=rediss://h"], "TLS (rediss://) is not built in"),
        (&["--payments=https://psp"], "TLS (https://) is not built in"),
        (&["--shard=a"], "--shard: expected NAME=URL"),
        (&["--shard=A=sqlite:x"], "the name \"A\" is not 1 to 32"),
        (&["--shard=b=mysql://h/d"], "--shard b: mysql:// is not built in"),
        (&["--key-ring=/nowhere/ring"], "--key-ring /nowhere/ring: "),
        (&["--speed=9"], "unexpected argument '--speed' found"),
    ];
    for (args, expected) in cases {
        let line = refusal(args);
        assert!(line.contains(expected), "{args:?} gave {line:?}");
        assert!(!line.contains('\n'), "{args:?} gave {line:?}");
    }
}

#[test]
fn replicas_are_refused_until_they_are_built() {
    let shard = format!("--shard=b={0}2,replica={0}3", crate::db::EXAMPLE);
    assert_eq!(refusal(&[&shard]), "--shard b: replicas are not built in");
}

#[test]
fn shards_differ_in_name_and_url() {
    let same_url = format!("--shard=b={}", crate::db::EXAMPLE);
    assert!(refusal(&[&same_url]).contains("has the URL of another shard"));
    let same_name = format!("--shard=a={}2", crate::db::EXAMPLE);
    assert!(refusal(&[&same_name]).contains("two shards are called \"a\""));
}

#[test]
fn no_refusal_repeats_a_password() {
    for args in [
        ["--redis=http://:hunter2@h"],
        ["--shard=b=mysql://u:hunter2@h/d"],
        ["--payments=ftp://u:hunter2@h"],
        ["--redis=:hunter2@h"],
    ] {
        let line = refusal(&args);
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn loopback_hosts_may_speak_plain_http() {
    for url in ["http://localhost:1", "http://127.0.0.2", "http://[::1]:8080", "http://shop.localhost"] {
        assert!(settings(&["--public-url", url]).public_url.is_some());
    }
}

#[test]
fn charges_are_joined_below_the_path() {
    let url = settings(&["--payments=http://psp:1/v1"]).payments.unwrap();
    assert_eq!(url.join("charges").unwrap().as_str(), "http://psp:1/v1/charges");
}

#[test]
fn help_names_every_option() {
    let Err(Refused::Help(text)) = Settings::parse(["checkout", "--help"].map(OsString::from)) else {
        panic!("--help is not help")
    };
    for option in [
        "--listen",
        "--public-url",
        "--pods",
        "--redis",
        "--shard",
        "--events",
        "--payments",
        "--pool-max",
        "--processes",
        "--key-ring",
    ] {
        assert!(text.contains(option), "{option} is missing in\n{text}");
    }
}
