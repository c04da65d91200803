//! One duration recorded, by one thread and by two into the same series.

use std::{thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use scalekit_bench::duel::table;
use scalekit_bench_peers::recorders::{self, Recorder};
use scalekit_testkit::{Rng, seed};

const ROUNDS: usize = 40;
const PER_ROUND: usize = 20_000;

pub(crate) fn run() {
    // Log-uniform from 0.1 ms to about 6.5 s: a bucket must be looked for, not guessed from the last one.
    let mut random = Rng::new(seed());
    let took: Vec<_> = (0..PER_ROUND)
        .map(|_| {
            Duration::from_nanos(100_000 << random.below(16)) + Duration::from_nanos(random.below(100_000))
        })
        .collect();
    let recorders = recorders::all();
    let mut best = vec![[f64::INFINITY; 2]; recorders.len()];
    for round in 0..ROUNDS {
        for turn in 0..recorders.len() {
            // Each round begins with another one.
            let at = (turn + round) % recorders.len();
            for threads in [1, 2] {
                let each = nanos(&recorders[at], &took, threads);
                best[at][threads - 1] = best[at][threads - 1].min(each);
                (recorders[at].upkeep)();
            }
        }
    }
    let rows: Vec<_> = recorders
        .iter()
        .zip(&best)
        .map(|(recorder, [one, two])| {
            let ratios = [one / best[0][0], two / best[0][1]].map(|ratio| format!("**{ratio:.2}**"));
            let [to_one, to_two] = ratios;
            vec![recorder.name.to_owned(), format!("{one:.1}"), to_one, format!("{two:.1}"), to_two]
        })
        .collect();
    table(
        &format!(
            "One duration recorded: CPU of the recording threads in ns, best of {ROUNDS} rounds of {PER_ROUND}"
        ),
        &["", "1 thread", "first row = 1", "2 threads, each", "first row = 1"],
        &rows,
    );
}

/// CPU time per record, of all threads.
fn nanos(recorder: &Recorder, took: &[Duration], threads: usize) -> f64 {
    let cpu = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
    };
    let record = &recorder.record;
    let work = || {
        let start = cpu();
        record(took);
        (cpu() - start).as_secs_f64()
    };
    let seconds: f64 = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let records = (took.len() * threads) as f64;
    seconds * 1e9 / records
}
