//! Programs under test: their lines, their ends, their failpoints.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::os::unix::process::ExitStatusExt;

use scalekit_testkit::Program;

fn victim(mode: &str) -> Program {
    Program::new(env!("CARGO_BIN_EXE_testkit-victim")).arg(mode)
}

#[tokio::test]
async fn lines_go_in_and_come_out() {
    let mut program = victim("echo").start();
    assert_eq!(program.wait_listening().await, "http://127.0.0.1:12345");
    program.send_line("stop 1");
    assert_eq!(program.wait_line("done").await, "done stop 1");
    program.send_line("stop 2");
    assert_eq!(program.wait_line("done").await, "done stop 2");
    program.close_stdin();
    assert!(program.wait_exit().await.success());
    assert_eq!(program.stderr(), "a line on stderr\n");
    assert_eq!(program.stdout().len(), 5);
}

#[tokio::test]
async fn ends_are_told_apart() {
    assert_eq!(victim("exit").arg("2").start().wait_exit().await.code(), Some(2));
    let mut program = victim("echo").start();
    program.wait_listening().await;
    assert!(program.exited().is_none());
    program.terminate();
    assert_eq!(program.wait_exit().await.signal(), Some(15));
    let mut program = victim("echo").start();
    program.wait_listening().await;
    program.kill9().await;
    assert_eq!(program.exited().unwrap().signal(), Some(9));
}

#[tokio::test]
async fn an_armed_failpoint_kills_the_program_there() {
    let program = victim("work").failpoint("after-claim").start();
    assert_eq!(program.wait_exit().await.signal(), Some(9));
    assert_eq!(program.stdout(), ["claimed"]);
    let mut program = victim("work").failpoint("elsewhere").start();
    program.wait_line("finished").await;
    assert!(program.wait_exit().await.success());
}

#[tokio::test]
#[should_panic(expected = "ended its output without a line \"ready\"")]
async fn a_line_that_never_comes_fails_the_test() {
    victim("exit").start().wait_line("ready").await;
}
