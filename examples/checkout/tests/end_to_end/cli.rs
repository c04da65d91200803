//! The command line of the program itself.

use std::process::{Command, Output};

use scalekit_testkit::free_port;

use crate::{shards::Shards, shop::program_at};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_checkout")).args(args).output().unwrap()
}

#[test]
fn a_bad_value_is_one_line_on_stderr_and_exit_code_2() {
    for args in [
        ["--pods=none"],
        ["--listen=here"],
        ["--events=kafka://k:9092"],
        ["--events=nats://n:4222"],
        ["--shard=a=mysql://h/d"],
        ["--key-ring=/nowhere/ring"],
        ["--public-url=http://shop.example"],
        ["--what"],
    ] {
        let output = run(&args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.starts_with("error: ") && text.lines().count() == 1, "{args:?}: {text}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn help_is_on_stdout() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--shard") && text.contains("stop I"), "{text}");
}

#[tokio::test]
async fn an_address_in_use_is_one_line_and_exit_code_1() {
    let port = free_port();
    let _taken = std::net::TcpListener::bind(port.addr()).unwrap();
    let shards = Shards::create().await;
    let running = program_at(&shards, port.addr()).start();
    assert_eq!(running.wait_exit().await.code(), Some(1));
    let text = running.stderr();
    assert!(text.contains(&format!("error: --listen {}: ", port.addr())), "{text}");
    assert!(running.stdout().is_empty());
}
