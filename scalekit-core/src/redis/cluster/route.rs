//! The slot that a command is for.

use ::redis::{Arg, Cmd, Pipeline};

use crate::slot;

/// The slot of the first key; `None` for a command without one, which any node can answer.
///
/// A guess for commands that are not listed: where it is wrong, the node redirects.
pub(super) fn of_command(command: &Cmd) -> Option<u16> {
    let name = argument(command, 0)?.to_ascii_uppercase();
    let at = match name.as_slice() {
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => {
            if argument(command, 2)? == b"0" {
                return None;
            }
            3
        }
        b"XREAD" | b"XREADGROUP" => {
            let streams = |argument: &[u8]| argument.eq_ignore_ascii_case(b"STREAMS");
            (1..)
                .take_while(|at| argument(command, *at).is_some())
                .find(|at| argument(command, *at).is_some_and(streams))?
                + 1
        }
        b"XGROUP" | b"XINFO" | b"OBJECT" | b"BITOP" | b"ZUNION" | b"ZINTER" | b"ZDIFF" | b"ZINTERCARD"
        | b"SINTERCARD" | b"LMPOP" | b"ZMPOP" | b"MEMORY" => 2,
        b"BLMPOP" | b"BZMPOP" => 3,
        name if KEYLESS.contains(&name) => return None,
        _ => 1,
    };
    argument(command, at).map(slot)
}

/// That of the first command that has one.
pub(super) fn of_pipeline(pipeline: &Pipeline) -> Option<u16> {
    pipeline.cmd_iter().find_map(of_command)
}

const KEYLESS: [&[u8]; 27] = [
    b"ACL",
    b"CLIENT",
    b"CLUSTER",
    b"COMMAND",
    b"CONFIG",
    b"DBSIZE",
    b"ECHO",
    b"FLUSHALL",
    b"FLUSHDB",
    b"FUNCTION",
    b"INFO",
    b"KEYS",
    b"LASTSAVE",
    b"LATENCY",
    b"LOLWUT",
    b"MODULE",
    b"PING",
    b"PUBLISH",
    b"PUBSUB",
    b"RANDOMKEY",
    b"ROLE",
    b"SCAN",
    b"SCRIPT",
    b"SLOWLOG",
    b"TIME",
    b"WAIT",
    b"WAITAOF",
];

fn argument(command: &Cmd, at: usize) -> Option<&[u8]> {
    match command.args_iter().nth(at)? {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ::redis::{cmd, pipe};

    use super::*;

    fn of(text: &str) -> Option<u16> {
        let mut words = text.split(' ');
        let mut command = cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        of_command(&command)
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        let foo = Some(slot(b"foo"));
        for with_key in [
            "GET foo",
            "hset foo a b",
            "EVALSHA abc 1 foo x",
            "EVAL s 2 foo {foo}b x",
            "XGROUP CREATE foo g $",
            "XREADGROUP GROUP g c COUNT 1 streams foo >",
            "XREAD STREAMS foo 0",
            "BITOP AND foo a",
            "BLMPOP 0 1 foo LEFT",
            "SINTERCARD 1 foo",
            "OBJECT ENCODING foo",
            "SPUBLISH foo x",
            "BLPOP foo 1",
        ] {
            assert_eq!(of(with_key), foo, "{with_key}");
        }
        for without in ["PING", "EVAL s 0", "info", "PUBLISH foo x", "SCAN 0", "TIME", "GET", "XREAD COUNT 1"]
        {
            assert_eq!(of(without), None, "{without}");
        }
        let mut both = pipe();
        both.cmd("PING").cmd("GET").arg("foo");
        assert_eq!(of_pipeline(&both), foo);
    }
}
