//! How long a scrape takes; its allocations are counted apart, in `heap`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use scalekit_bench::duel::table;
use scalekit_bench_peers::recorders::{SIZES, scraped, series};

const ROUNDS: usize = 25;

pub(crate) fn run() {
    for size in SIZES {
        let all = scraped(size);
        let mut best = vec![f64::INFINITY; all.len()];
        for _ in 0..ROUNDS {
            for (scraped, best) in all.iter().zip(&mut best) {
                let start = cpu();
                let text = (scraped.scrape)();
                *best = best.min((cpu() - start).as_secs_f64());
                assert!(!text.is_empty());
            }
        }
        let nanos: Vec<f64> = all
            .iter()
            .zip(best)
            .map(|(scraped, best)| {
                #[expect(clippy::cast_precision_loss, reason = "some thousands")]
                let series = series(&(scraped.scrape)()) as f64;
                best * 1e9 / series
            })
            .collect();
        let rows: Vec<_> = all
            .iter()
            .zip(&nanos)
            .map(|(scraped, own)| {
                vec![scraped.name.to_owned(), format!("{own:.0}"), format!("**{:.2}**", own / nanos[0])]
            })
            .collect();
        table(
            &format!("A scrape of about {size} series: CPU per series in ns, best of {ROUNDS}"),
            &["", "ns", "first row = 1"],
            &rows,
        );
    }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}
