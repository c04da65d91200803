//! Commands on standard input: `stop I`, `kill I`, `start I`.

use std::{
    io::{self, BufRead},
    sync::Arc,
    thread,
};

use tokio::{runtime::Handle, sync::mpsc};

use super::pods::Pods;
use crate::console;

/// How many lines are read ahead of the commands that run.
const AHEAD: usize = 64;

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Stop(u32),
    Kill(u32),
    Start(u32),
}

/// Carries out commands until the end of the input, each on a task of its own: a `kill` must not wait for a `stop`.
pub(crate) fn listen(pods: Arc<Pods>) {
    let (lines, mut read) = mpsc::channel::<String>(AHEAD);
    // A thread, since a read of standard input cannot be cancelled.
    let reader = thread::Builder::new().name("commands".into()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    if let Err(error) = reader {
        tracing::error!(%error, "no thread to read commands");
        return;
    }
    let runtime = Handle::current();
    runtime.clone().spawn(async move {
        while let Some(line) = read.recv().await {
            let line = line.trim().to_owned();
            if !line.is_empty() {
                let pods = Arc::clone(&pods);
                runtime.spawn(async move { console::print(&carry_out(&pods, &line).await) });
            }
        }
    });
}

async fn carry_out(pods: &Arc<Pods>, line: &str) -> String {
    let Some(command) = parse(line) else {
        return format!("error: {line:?} is none of stop I, kill I, start I");
    };
    let done = match command {
        Command::Stop(number) => pods.stop(number).await.map(|()| format!("stopped {number}")),
        Command::Kill(number) => pods.kill(number).await.map(|()| format!("killed {number}")),
        Command::Start(number) => pods.start(number).await.map(|()| format!("started {number}")),
    };
    done.unwrap_or_else(|refusal| format!("error: {refusal}"))
}

fn parse(line: &str) -> Option<Command> {
    let mut words = line.split_whitespace();
    let (verb, number, None) = (words.next()?, words.next()?.parse().ok()?, words.next()) else {
        return None;
    };
    match verb {
        "stop" => Some(Command::Stop(number)),
        "kill" => Some(Command::Kill(number)),
        "start" => Some(Command::Start(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_verb_and_a_number_and_nothing_else() {
        assert_eq!(parse("stop 1"), Some(Command::Stop(1)));
        assert_eq!(parse("  kill   12 "), Some(Command::Kill(12)));
        assert_eq!(parse("start 3"), Some(Command::Start(3)));
        for line in ["stop", "stop one", "stop 1 2", "halt 1", "1", "stop -1"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
